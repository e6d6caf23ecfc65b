"""Reading frames with decord, one thread."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch

from videopool.data.decoding.listed_reader import ListedReader, first_line, trusted
from videopool.data.decoding.reader import DecodeError, VideoInfo
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import Timeline

_LOG_PREFIX = re.compile(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ")


def decord_reader(source: Source, timeline: Timeline) -> ListedReader:
    """A video open in decord.

    decord numbers the frames, so it is asked only where number and time are known to agree; elsewhere it repeats
    frames, gives their neighbors, or never returns. It decodes ahead, so damage after the last wanted frame may be
    met too.

    Raises:
        DecodeError: for a file that decord cannot open, or cannot be trusted with.
    """
    trusted(source, _fault(timeline))
    reader = _open(source, timeline.info)
    if len(reader) != len(timeline.pts):
        counts = f"decord counts {len(reader)} frames, its packets {len(timeline.pts)}"
        mend = "set data.decoder=auto or pyav, or re-encode the file"
        raise DecodeError(source.name, f"is damaged: {counts}; {mend}")

    def pick(wanted: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(reader.get_batch(wanted.tolist()).asnumpy()).movedim(3, 1)

    return ListedReader(source, timeline, pick, _reason)


def _fault(timeline: Timeline) -> str:
    """Why decord would give other frames than those on display, empty if it gives the right ones."""
    if not timeline.indexed:
        return "is in a format without an index, in which decord finds wrong frames"
    if timeline.hidden:
        return f"has {timeline.hidden} frames hidden by an edit list, which decord counts and cannot decode"
    if timeline.upright.mirrored:
        return "is mirrored by its header, which decord does not do"
    if timeline.quirk:
        return f"{timeline.quirk}, which decord does not know"
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
    except Exception as error:  # its own error is no subclass of RuntimeError in every release
        raise DecodeError(source.name, f"cannot be opened by decord ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    """decord's message without the time and the place in its source."""
    return _LOG_PREFIX.sub("", first_line(error)).strip()
