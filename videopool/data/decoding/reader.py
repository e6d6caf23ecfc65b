"""What every decoder of videopool promises: ``Timing``, ``VideoReader``, and ``DecodeError`` when it cannot."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from videopool.errors import InputError
from videopool.ops.frames import Grid, Planes, Resampler

START_TOLERANCE_SECONDS = 1e-5  # a time computed as n / fps may come out just before the start it means


class DecodeError(Exception):
    """A video that cannot be read: its ``path`` and the ``reason``, in one sentence."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(str(path), reason)  # both in ``args``, so that the error survives the way out of a worker
        self.path = str(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class TimedOutError(DecodeError):
    """A video that took longer to decode than it may."""


@contextlib.contextmanager
def decode_errors(path: str | Path, what: str = "cannot be decoded") -> Iterator[None]:
    """Turn whatever a library raises in the ``with`` block into a DecodeError: ``path``, ``what`` happened, and why.

    Decoders raise errors of many kinds for damaged files, among them IndexError and UnicodeDecodeError. DecodeError,
    InputError and MemoryError pass as they are.
    """
    try:
        yield
    except (DecodeError, InputError, MemoryError):
        raise
    except Exception as error:
        raise DecodeError(path, f"{what} ({error_message(error)})") from None


def error_message(error: Exception) -> str:
    """An error of a library in one line; those of Python itself with their type, for their text alone says little."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    plain = isinstance(error, OSError) or type(error).__module__ not in ("builtins", "struct")
    return text if text and plain else f"{type(error).__name__}: {text}".rstrip(": ")


@dataclasses.dataclass(frozen=True)
class Timing:
    """When a video shows its frames.

    ``duration_seconds`` runs from the start of the first frame on display to the end of the last one; ``fps`` is
    ``frames / duration_seconds``, the average rate; ``frames`` counts the frames on display. Where a Matroska file of
    constant rate lacks frames, they are counted too.
    """

    duration_seconds: float
    fps: float
    frames: int


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """Timing and size of a video: ``width`` and ``height`` of the upright picture in pixels; the rest as in Timing."""

    duration_seconds: float
    fps: float
    width: int
    height: int
    frames: int

    @property
    def timing(self) -> Timing:
        """All but the size."""
        return Timing(self.duration_seconds, self.fps, self.frames)


Grids = Callable[[int, int], Sequence[Grid]]  # (height, width) of the upright frames -> what to take of each of them


class VideoReader(Protocol):
    """An open video. Times count in seconds from the first frame on display."""

    @property
    def timing(self) -> Timing:
        """Duration and rate."""
        ...

    @property
    def info(self) -> VideoInfo:
        """Duration, rate and size; a frame may have to be decoded to know it."""
        ...

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel over its height in the upright picture; known when ``info`` is, or a first frame."""
        ...

    def clips(self, times: Sequence[float] | np.ndarray, grids: Grids) -> list[torch.Tensor]:
        """The frames on display at ``times`` (seconds, any order, repeats allowed), once for each grid.

        Args:
            times: [T], of all frames that are wanted: the file is gone through once.
            grids: says, once and when the size of the frames is known, which pixels are wanted.

        Returns:
            For each grid uint8 [C,T,rows,columns], RGB, contiguous.

        Raises:
            DecodeError: if a frame cannot be decoded.
        """
        ...

    def close(self) -> None:
        """Let go of the file and the decoder."""
        ...


class Outputs:
    """The results of ``VideoReader.clips`` while they are made, frame by frame.

    ``wanted`` are the distinct indices of frames, rising, and ``positions`` says which of them each time gets.
    """

    def __init__(self, starts: np.ndarray, times: Sequence[float] | np.ndarray, grids: Grids) -> None:
        self.wanted, self.positions = np.unique(frame_on_display(starts, times), return_inverse=True)
        self._grids_of = grids
        self._grids: Sequence[Grid] | None = None
        self._pixels: list[torch.Tensor] = []
        self._resamplers: list[Resampler] = []
        self._about: Planes | None = None
        self.size = (0, 0)

    def again(self, starts: np.ndarray, times: Sequence[float] | np.ndarray) -> Outputs:
        """For another list of starts; the grids, which may be random, stay."""
        other = Outputs(starts, times, self._grids_of)
        other._grids, other.size = self._grids, self.size
        return other

    def put(self, position: int, planes: Sequence[torch.Tensor], about: Planes) -> None:
        """Takes the pixels of frame ``wanted[position]`` out of its planes, whose first has the size of the frame.

        Raises:
            ValueError: if the size is another one than before.
        """
        size = (planes[0].shape[0], planes[0].shape[1])
        if self._grids is None:
            self._grids, self.size = self._grids_of(*size), size
        if size != self.size:
            change = f"{self.size[1]} x {self.size[0]} pixels become {size[1]} x {size[0]}"
            raise ValueError(f"the size of its frames changes: {change}")
        if not self._pixels:
            count = len(self.wanted)
            self._pixels = [torch.empty(3, count, grid.rows, grid.columns, dtype=torch.uint8) for grid in self._grids]
        if about != self._about:
            self._about, self._resamplers = about, [Resampler(about, grid) for grid in self._grids]
        for pixels, resampler in zip(self._pixels, self._resamplers, strict=True):
            resampler(pixels[:, position], planes)

    def clips(self) -> list[torch.Tensor]:
        """What ``VideoReader.clips`` returns, when every wanted frame was put."""
        if np.array_equal(self.positions, np.arange(len(self.wanted))):
            return self._pixels
        order = torch.from_numpy(self.positions)
        return [pixels.index_select(1, order) for pixels in self._pixels]


def whole_frame(short_side: int | None) -> Grids:
    """All of a frame, its shorter side scaled to ``short_side`` pixels (None: at its own size)."""

    def grids(height: int, width: int) -> tuple[Grid]:
        columns, rows = scaled_size(width=width, height=height, short_side=short_side)
        return (Grid(0.0, 0.0, height / rows, width / columns, rows, columns),)

    return grids


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
