"""Reading frames with decord, one thread."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from videopool.data.reader import DecodeError, Grids, Outputs, Timing, VideoInfo
from videopool.data.source import Source
from videopool.data.timeline import Timeline
from videopool.ops.frames import RGB

_LOG_PREFIX = re.compile(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ")


class DecordReader:
    """A video open in decord; see ``VideoReader``.

    decord numbers the frames, so it is asked only where number and time are known to agree; elsewhere it repeats
    frames, gives their neighbours, or never returns. It decodes ahead, so damage after the last wanted frame may be
    met too.

    Raises:
        DecodeError: for a file that decord cannot open, or cannot be trusted with.
    """

    def __init__(self, source: Source, timeline: Timeline) -> None:
        fault = _fault(timeline)
        if fault:
            raise DecodeError(source.name, f"{fault}: set data.decoder=auto or pyav, or re-encode the file")
        self._source = source
        self._starts = timeline.starts
        self.info: VideoInfo = timeline.info
        self._reader = _open(source, self.info)
        if len(self._reader) != self.info.frames:
            counts = f"decord counts {len(self._reader)} frames, its packets {self.info.frames}"
            mend = "set data.decoder=auto or pyav, or re-encode the file"
            raise DecodeError(source.name, f"is damaged: {counts}; {mend}")

    @property
    def timing(self) -> Timing:
        """See ``VideoReader.timing``."""
        return Timing(self.info.duration_seconds, self.info.fps, self.info.frames)

    def clips(self, times: Sequence[float] | np.ndarray, grids: Grids) -> list[torch.Tensor]:
        """See ``VideoReader.clips``."""
        outputs = Outputs(self._starts, times, grids)
        try:
            images = torch.from_numpy(self._reader.get_batch(outputs.wanted.tolist()).asnumpy())
        except Exception as error:  # decord's own error is no subclass of RuntimeError in every release
            raise DecodeError(self._source.name, f"cannot be decoded ({_first_line(error)})") from None
        for position, image in enumerate(images):
            outputs.put(position, image.unbind(2), RGB)
        return outputs.clips()

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


def _open(source: Source, info: VideoInfo) -> Any:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        # The size is given, for it makes decord turn rotated video upright.
        return decord.VideoReader(source.for_python(), num_threads=1, width=info.width, height=info.height)
    except Exception as error:
        raise DecodeError(source.name, f"cannot be opened by decord ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    """decord's message without the time, the place in its source, and the C++ stack that follows."""
    lines = str(error).strip().splitlines()
    return _LOG_PREFIX.sub("", lines[0]).strip() if lines else type(error).__name__
