"""Reading frames with torchcodec, one thread, by time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from videopool.data.reader import DecodeError, Grids, Outputs, Timing, VideoInfo
from videopool.data.source import Source
from videopool.data.timeline import Timeline
from videopool.errors import InputError
from videopool.ops.frames import RGB


class TorchCodecReader:
    """A video open in torchcodec; see ``VideoReader``.

    Raises:
        DecodeError: for a file that it cannot open, or cannot be trusted with.
    """

    def __init__(self, source: Source, timeline: Timeline) -> None:
        fault = _fault(timeline)
        if fault:
            raise DecodeError(source.name, f"{fault}: set data.decoder=auto or pyav, or re-encode the file")
        self._source = source
        self._starts = timeline.starts
        self._middles = _middles(timeline)
        self.info: VideoInfo = timeline.info
        self._decoder = _open(source)

    @property
    def timing(self) -> Timing:
        """See ``VideoReader.timing``."""
        return Timing(self.info.duration_seconds, self.info.fps, self.info.frames)

    def clips(self, times: Sequence[float] | np.ndarray, grids: Grids) -> list[torch.Tensor]:
        """See ``VideoReader.clips``."""
        outputs = Outputs(self._starts, times, grids)
        begin = self._decoder.metadata.begin_stream_seconds
        try:
            images = self._decoder.get_frames_played_at((self._middles[outputs.wanted] + begin).tolist()).data
        except Exception as error:  # it raises what its C++ code raised
            raise DecodeError(self._source.name, f"cannot be decoded ({_first_line(error)})") from None
        for position, image in enumerate(images):
            outputs.put(position, image.unbind(0), RGB)
        return outputs.clips()

    def close(self) -> None:
        """Let go of the file."""
        self._decoder = None


def _fault(timeline: Timeline) -> str:
    """Why torchcodec would give other frames than those on display, empty if it gives the right ones."""
    if not timeline.indexed:
        return "is in a format without an index, in which torchcodec finds wrong frames"
    if timeline.hidden:
        return f"has {timeline.hidden} frames hidden by an edit list, after which torchcodec finds wrong frames"
    if not timeline.timed:
        return "stores no display times, by which torchcodec finds frames"
    return ""


def _middles(timeline: Timeline) -> np.ndarray:
    """The middle of the display of each frame, seconds: no rounding leads to a neighbour from there."""
    ends = np.append(timeline.starts[1:], timeline.info.duration_seconds)
    return (timeline.starts + ends) / 2


def _decoder() -> Any:
    """torchcodec's VideoDecoder; raises InputError where it is installed but cannot be loaded."""
    try:
        from torchcodec.decoders import VideoDecoder  # type: ignore[attr-defined]
    except (ImportError, OSError, RuntimeError) as error:
        raise InputError(
            f"data.decoder=torchcodec, but torchcodec does not load ({_first_line(error)}); it needs FFmpeg's shared "
            "libraries and a build for this torch: install those, or set data.decoder=auto"
        ) from None
    return VideoDecoder


def _open(source: Source) -> Any:
    decoder = _decoder()
    video = source.for_python()
    try:
        return decoder(
            video if isinstance(video, str) else video.getvalue(),
            dimension_order="NCHW",
            num_ffmpeg_threads=1,
            seek_mode="exact",
        )
    except Exception as error:
        raise DecodeError(source.name, f"cannot be opened by torchcodec ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
