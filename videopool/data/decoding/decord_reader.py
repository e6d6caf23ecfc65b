"""Read frames with decord, in one thread."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch

from videopool.data.decoding.listed_reader import OTHER_DECODER, ListedReader, check_trusted, first_line
from videopool.data.decoding.reader import DecodeError, VideoInfo
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import Timeline

_LOG_PREFIX = re.compile(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ")


def decord_reader(source: Source, timeline: Timeline) -> ListedReader:
    """Open a video in decord.

    decord finds frames by number. It is used only if numbers and times are known to agree; in other files it repeats
    frames, returns their neighbors, or never returns. It decodes ahead, so damage after the last wanted frame may be an
    error too.

    Raises:
        DecodeError: if decord cannot open the file, or would return wrong frames.
    """
    check_trusted(source, _fault(timeline))
    reader = _open(source, timeline.info)
    if len(reader) != len(timeline.pts):
        counts = f"decord finds {len(reader)} frames, its packets have {len(timeline.pts)}"
        raise DecodeError(source.name, f"is damaged: {counts}; {OTHER_DECODER}")

    def pick(wanted: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(reader.get_batch(wanted.tolist()).asnumpy()).movedim(3, 1)

    return ListedReader(source, timeline, pick, _reason)


def _fault(timeline: Timeline) -> str:
    """Return why decord would return wrong frames; "" if it returns the right ones."""
    if not timeline.indexed:
        return "is in a format without an index, for which decord returns wrong frames"
    if timeline.hidden:
        return f"has {timeline.hidden} frames hidden by an edit list, which decord counts but cannot decode"
    if timeline.upright.mirrored:
        return "is mirrored by its header, which decord does not support"
    if timeline.quirk:
        return f"{timeline.quirk}, which decord does not support"
    if not timeline.timed:
        return "stores no display times, without which decord returns wrong frames"
    if timeline.open_groups:
        return "has open groups of pictures, whose frames decord counts wrongly"
    return ""


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
