"""Reading frames with decord, one thread, scaled inside the decoder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videopool.data.reader import DecodeError, as_frames, frame_on_display, scaled_size
from videopool.data.timeline import Timeline

_LOG_PREFIX = re.compile(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ")


class DecordReader:
    """A video open in decord; see ``VideoReader``. ``short_side`` in pixels, None for the video's own size.

    decord numbers the frames, so it is asked only where number and time are known to agree; elsewhere it repeats
    frames, gives their neighbours, or never returns. It decodes ahead, so damage after the last wanted frame may be
    met too.

    Raises:
        DecodeError: for a file that decord cannot open, or cannot be trusted with.
    """

    def __init__(self, path: str | Path, timeline: Timeline, short_side: int | None = None) -> None:
        fault = _fault(timeline)
        if fault:
            raise DecodeError(path, f"{fault}: set data.decoder=auto or pyav, or re-encode the file")
        self._path = path
        self._starts = timeline.starts
        self.info = timeline.info
        # decord takes the size of its output before it has seen the input.
        width, height = scaled_size(width=self.info.width, height=self.info.height, short_side=short_side)
        self._reader = _open(path, width, height)
        if len(self._reader) != self.info.frames:
            counts = f"decord counts {len(self._reader)} frames, its packets {self.info.frames}"
            raise DecodeError(path, f"is damaged: {counts}; set data.decoder=auto or pyav, or re-encode the file")

    def frames_at(self, times: Sequence[float] | np.ndarray) -> torch.Tensor:
        """See ``VideoReader.frames_at``."""
        wanted, positions = np.unique(frame_on_display(self._starts, times), return_inverse=True)
        try:
            images = self._reader.get_batch(wanted.tolist()).asnumpy()
        except Exception as error:  # decord's own error is no subclass of RuntimeError in every release
            raise DecodeError(self._path, f"cannot be decoded ({_first_line(error)})") from None
        return as_frames(images, positions)

    def close(self) -> None:
        """Stop decord's decoding thread, which would otherwise read ahead."""
        self._reader = None


def _fault(timeline: Timeline) -> str:
    """Why decord would give other frames than those on display, empty if it gives the right ones."""
    if not timeline.indexed:
        return "is in a format without an index, in which decord finds wrong frames"
    if timeline.hidden:
        return f"has {timeline.hidden} frames hidden by an edit list, which decord counts and cannot decode"
    if not timeline.timed:
        return "stores no display times, without which decord finds wrong frames"
    if timeline.open_groups:
        return "has frames that precede their keyframe (open groups of pictures), which decord miscounts"
    return ""


def _open(path: str | Path, width: int, height: int) -> Any:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        return decord.VideoReader(str(path), num_threads=1, width=width, height=height)
    except Exception as error:
        raise DecodeError(path, f"cannot be opened by decord ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    """decord's message without the time, the place in its source, and the C++ stack that follows."""
    lines = str(error).strip().splitlines()
    return _LOG_PREFIX.sub("", lines[0]).strip() if lines else type(error).__name__
