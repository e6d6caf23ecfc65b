"""Read frames in memory as a video."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch

from videopool.data.decoding.reader import Grids, Outputs, Timing, VideoInfo
from videopool.errors import InputError
from videopool.ops.frames import RGB


class MemoryReader:
    """The frames of a video in a tensor; see ``VideoReader``.

    Args:
        frames: uint8 [C,T,H,W] on the CPU, RGB.
        fps: frame rate of the video.

    Raises:
        InputError: for a tensor of another kind or shape.
    """

    pixel_aspect = Fraction(1)

    def __init__(self, frames: torch.Tensor, fps: float) -> None:
        if frames.dtype != torch.uint8 or frames.dim() != 4 or frames.shape[0] != 3 or not frames.numel():
            kind = str(frames.dtype).removeprefix("torch.")
            raise InputError(f"frames must be uint8 [3,T,H,W], got {kind} {list(frames.shape)}", setting="frames")
        self._frames = frames.cpu()
        count = frames.shape[1]
        self.timing = Timing(count / fps, fps, count)

    @property
    def info(self) -> VideoInfo:
        height, width = self._frames.shape[2:]
        return VideoInfo.of(self.timing, width=width, height=height)

    def clips(self, times: Sequence[float] | np.ndarray, grids: Grids) -> list[torch.Tensor]:
        outputs = Outputs(np.arange(self.timing.frames) / self.timing.fps, times, grids)
        for position, index in enumerate(outputs.wanted):
            outputs.put(position, self._frames[:, index].unbind(0), RGB)
        return outputs.clips()

    def close(self) -> None:
        """Do nothing: no file is open."""
