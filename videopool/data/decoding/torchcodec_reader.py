"""Read frames with torchcodec, in one thread, by their times."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
import torch

from videopool.data.decoding.listed_reader import ListedReader, check_supported, first_line
from videopool.data.decoding.reader import DecodeError
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import Timeline


def torchcodec_reader(source: Source, timeline: Timeline) -> ListedReader:
    """Open a video in torchcodec; frames are read at the middle of their display."""
    check_supported(source, timeline, "torchcodec")
    decoder = _open(source)
    ends = np.append(timeline.starts[1:], timeline.info.duration_seconds)
    middles = (timeline.starts + ends) / 2 + decoder.metadata.begin_stream_seconds  # rounding selects no neighbor

    def pick(wanted: np.ndarray) -> torch.Tensor:
        frames: torch.Tensor = decoder.get_frames_played_at(middles[wanted].tolist()).data
        return frames

    return ListedReader(source, timeline, pick, first_line)


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
