"""Read frames with torchcodec, in one thread, by their times."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
import torch

from videopool.data.decoding.listed_reader import ListedReader, check_trusted, first_line
from videopool.data.decoding.reader import DecodeError
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import Timeline


def torchcodec_reader(source: Source, timeline: Timeline) -> ListedReader:
    """Open a video in torchcodec; frames are read at the middle of their display.

    Raises:
        DecodeError: if torchcodec cannot open the file, or would return wrong frames.
    """
    check_trusted(source, _fault(timeline))
    decoder = _open(source)
    middles = _middles(timeline) + decoder.metadata.begin_stream_seconds

    def pick(wanted: np.ndarray) -> torch.Tensor:
        frames: torch.Tensor = decoder.get_frames_played_at(middles[wanted].tolist()).data
        return frames

    return ListedReader(source, timeline, pick, first_line)


def _fault(timeline: Timeline) -> str:
    """Return why torchcodec would return wrong frames; "" if it returns the right ones."""
    if not timeline.indexed:
        return "is in a format without an index, for which torchcodec returns wrong frames"
    if timeline.hidden:
        return f"has {timeline.hidden} frames hidden by an edit list, after which torchcodec returns wrong frames"
    if timeline.upright.mirrored:
        return "is mirrored by its header, which torchcodec does not support"
    if timeline.quirk:
        return f"{timeline.quirk}, which torchcodec does not support"
    if not timeline.timed:
        return "stores no display times, which torchcodec needs"
    return ""


def _middles(timeline: Timeline) -> np.ndarray:
    """Return the middle of the display of each frame in seconds, from where rounding never selects a neighbor."""
    ends = np.append(timeline.starts[1:], timeline.info.duration_seconds)
    return (timeline.starts + ends) / 2


@functools.cache
def load_fault() -> str:
    """Return why torchcodec cannot be loaded, or "". Its wheels lack FFmpeg's libraries and fit one torch each."""
    try:
        importlib.import_module("torchcodec.decoders")
    except (ImportError, OSError, RuntimeError) as error:
        return first_line(error)
    return ""


def _open(source: Source) -> Any:
    from torchcodec.decoders import VideoDecoder  # type: ignore[attr-defined]

    video = source.for_python()
    try:
        return VideoDecoder(
            video if isinstance(video, str) else video.getvalue(),
            dimension_order="NCHW",
            num_ffmpeg_threads=1,
            seek_mode="exact",
        )
    except Exception as error:
        raise DecodeError(source.name, f"cannot be opened by torchcodec ({first_line(error)})") from None
