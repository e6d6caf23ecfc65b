"""What every decoder of videopool promises: ``VideoInfo``, ``VideoReader``, and ``DecodeError`` when it cannot."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

START_TOLERANCE_SECONDS = 1e-5  # a time computed as n / fps may come out just before the start it means


class DecodeError(Exception):
    """A video that cannot be read: its ``path`` and the ``reason``, in one sentence."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(str(path), reason)  # both in ``args``, so that the error survives the way out of a worker
        self.path = str(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before any frame is asked for.

    ``duration_seconds`` runs from the start of the first frame on display to the end of the last one; ``fps`` is
    ``frames / duration_seconds``, the average rate; ``width`` and ``height`` are those of the upright picture in
    pixels; ``frames`` counts the frames on display.
    """

    duration_seconds: float
    fps: float
    width: int
    height: int
    frames: int


class VideoReader(Protocol):
    """An open video. Times count in seconds from the first frame on display."""

    @property
    def info(self) -> VideoInfo:
        """Duration, rate and size of the video."""
        ...

    def frames_at(self, times: Sequence[float] | np.ndarray) -> torch.Tensor:
        """The frames on display at ``times`` (seconds, any order, repeats allowed).

        Returns:
            uint8 [C,T,H,W], RGB, scaled to the reader's short side; a view of [T,H,W,C] memory.

        Raises:
            DecodeError: if a frame cannot be decoded.
        """
        ...

    def close(self) -> None:
        """Let go of the file and the decoder."""
        ...


def scaled_size(*, width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """(width, height) with the shorter side ``short_side`` and the shape kept; unchanged for None."""
    if short_side is None:
        return width, height
    short = min(width, height)
    return max(1, round(width * short_side / short)), max(1, round(height * short_side / short))


def frame_on_display(starts: np.ndarray, times: Sequence[float] | np.ndarray) -> np.ndarray:
    """Which frame is on display at each time: the last one that has started.

    ::

        starts   0.0     0.1           0.4  0.5          (a gap: frame 1 stays on display)
        time         0.05     0.2  0.3          0.7
        frame        0        1    1            3

    Args:
        starts: float64 [N], rising start times in seconds.
        times: [T] in seconds; those before the first frame give it, those after the last frame hold it.

    Returns:
        int64 [T], indices into ``starts``.
    """
    wanted = np.asarray(times, dtype=np.float64) + START_TOLERANCE_SECONDS
    return np.clip(np.searchsorted(starts, wanted, side="right") - 1, 0, len(starts) - 1)


def as_frames(images: np.ndarray, positions: np.ndarray) -> torch.Tensor:
    """uint8 [N,H,W,C], picked by ``positions`` [T], as the uint8 [C,T,H,W] view of [T,H,W,C] memory."""
    in_order = np.array_equal(positions, np.arange(len(images)))
    return torch.from_numpy(images if in_order else images[positions]).permute(3, 0, 1, 2)
