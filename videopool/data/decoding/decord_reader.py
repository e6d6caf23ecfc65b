"""Read frames with decord, in one thread."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch

from videopool.data.decoding.listed_reader import OTHER_DECODER, ListedReader, check_supported, first_line
from videopool.data.decoding.reader import DecodeError, VideoInfo
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import Timeline

_LOG_PREFIX = re.compile(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ")


def decord_reader(source: Source, timeline: Timeline) -> ListedReader:
    """Open a video in decord.

    decord finds frames by number. It is used only if numbers and times are known to agree; in other files it repeats
    frames, returns their neighbors, or never returns. It decodes ahead, so damage after the last wanted frame may be an
    error too.
    """
    check_supported(source, timeline, "decord")
    reader = _open(source, timeline.info)
    if len(reader) != len(timeline.pts):
        counts = f"decord finds {len(reader)} frames, but its packets contain {len(timeline.pts)}"
        raise DecodeError(source.name, f"is damaged: {counts}; {OTHER_DECODER}")

    def pick(wanted: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(reader.get_batch(wanted.tolist()).asnumpy()).movedim(3, 1)

    return ListedReader(source, timeline, pick, _reason)


def _open(source: Source, info: VideoInfo) -> Any:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        # With a size, decord rotates video upright.
        return decord.VideoReader(source.for_python(), num_threads=1, width=info.width, height=info.height)
    except Exception as error:  # decord's error is not a RuntimeError in every release
        raise DecodeError(source.name, f"cannot be opened by decord ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    """Return decord's message without the time and source line."""
    return _LOG_PREFIX.sub("", first_line(error)).strip()
