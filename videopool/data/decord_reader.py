"""Reading frames with decord, one thread, scaled inside the decoder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videopool.data.pyav_reader import check_frame_count, read_header
from videopool.data.reader import DecodeError, VideoInfo, as_frames, frame_on_display, scaled_size, video_info

_NEGATIVE_SECONDS = -1e-6
_LOG_PREFIX = re.compile(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ")
_MEND = "set data.decoder=auto or pyav, or re-encode the file"


class DecordReader:
    """A video open in decord; see ``VideoReader``. ``short_side`` in pixels, None for the video's own size.

    decord takes the size of its output before it has seen the input, so the header is read with PyAV first.
    """

    def __init__(self, path: str | Path, short_side: int | None = None) -> None:
        self._path = path
        header = read_header(path)
        if not header.seekable:
            raise DecodeError(path, f"is in a format without an index, in which decord finds wrong frames: {_MEND}")
        width, height = scaled_size(width=header.width, height=header.height, short_side=short_side)
        self._reader = _open(path, width, height)
        spans = np.asarray(self._reader.get_frame_timestamp(range(len(self._reader))), dtype=np.float64)
        _check_timestamps(path, spans[:, 0])
        check_frame_count(path, len(spans), header.announced_frames)
        self._starts = spans[:, 0] - spans[0, 0]
        self.info: VideoInfo = video_info(spans[:, 0], float(spans[-1, 1]), header.width, header.height)

    def frames_at(self, times: Sequence[float] | np.ndarray) -> torch.Tensor:
        """See ``VideoReader.frames_at``."""
        wanted, positions = np.unique(frame_on_display(self._starts, times), return_inverse=True)
        try:
            images = self._reader.get_batch(wanted.tolist()).asnumpy()
        except Exception as error:
            raise DecodeError(self._path, f"cannot be decoded ({_first_line(error)})") from None
        return as_frames(images if len(wanted) == len(positions) else images[positions])

    def close(self) -> None:
        """Stop decord's decoding thread, which would otherwise read ahead."""
        self._reader = None


def _open(path: str | Path, width: int, height: int) -> Any:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        # decord raises RuntimeError, its own DECORDError (no subclass of it in every release) and more.
        reader = decord.VideoReader(str(path), num_threads=1, width=width, height=height)
    except Exception as error:
        raise DecodeError(path, f"cannot be opened by decord ({_first_line(error)})") from None
    if len(reader) == 0:
        raise DecodeError(path, "has no frames")
    return reader


def _check_timestamps(path: str | Path, starts: np.ndarray) -> None:
    """Refuse a video in which decord would count frames that are not shown, or does not know when they are.

    Asked for such frames, decord repeats others without a word, or never returns.
    """
    hidden = int((starts < _NEGATIVE_SECONDS).sum())
    if hidden:
        reason = f"has {hidden} frames that are hidden by an edit list or carry no time"
    elif (np.diff(starts) <= 0).any():
        reason = "has frames with equal times"
    else:
        return
    raise DecodeError(path, f"{reason}, which decord cannot read reliably: {_MEND}")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return _LOG_PREFIX.sub("", lines[0]).strip() if lines else type(error).__name__
