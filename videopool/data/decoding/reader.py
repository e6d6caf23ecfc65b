"""The interface of all decoders: ``Timing``, ``VideoReader`` and ``DecodeError``."""

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

START_TOLERANCE_SECONDS = 1e-5  # a time n / fps may be rounded to just before the start of frame n


class DecodeError(Exception):
    """A video cannot be read: its ``path``, and the ``reason``, such as "has no video stream"."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(str(path), reason)  # both in ``args``, so that the error can be pickled
        self.path = str(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


class TimedOutError(DecodeError):
    """A video took too long to decode."""


@contextlib.contextmanager
def decode_errors(path: str | Path, what: str = "cannot be decoded") -> Iterator[None]:
    """Convert any error that a library raises in the ``with`` block to a DecodeError: ``path``, ``what``, and why.

    Decoders raise many kinds of errors for damaged files, IndexError and UnicodeDecodeError among them. DecodeError,
    InputError and MemoryError pass unchanged.
    """
    try:
        yield
    except (DecodeError, InputError, MemoryError):
        raise
    except Exception as error:
        raise DecodeError(path, f"{what} ({error_message(error)})") from None


def error_message(error: Exception) -> str:
    """Return an error of a library in one line, with its type if it is one of Python's own."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    plain = isinstance(error, OSError) or type(error).__module__ not in ("builtins", "struct")
    return text if text and plain else f"{type(error).__name__}: {text}".rstrip(": ")


@dataclasses.dataclass(frozen=True)
class Timing:
    """Duration and rate of a video.

    ``duration_seconds`` is from the start of the first frame on display to the end of the last one, ``frames`` the
    number of frames on display, and ``fps`` the average rate, ``frames / duration_seconds``. Missing frames of a
    Matroska file of constant rate are counted too.
    """

    duration_seconds: float
    fps: float
    frames: int


@dataclasses.dataclass(frozen=True)
class VideoInfo(Timing):
    """Timing and size of a video; ``width`` and ``height`` are those of the upright picture in pixels."""

    width: int
    height: int

    @classmethod
    def of(cls, timing: Timing, *, width: int, height: int) -> VideoInfo:
        """Add a size to ``timing``."""
        return cls(timing.duration_seconds, timing.fps, timing.frames, width, height)

    @property
    def timing(self) -> Timing:
        """Everything but the size."""
        return Timing(self.duration_seconds, self.fps, self.frames)


Grids = Callable[[int, int], Sequence[Grid]]  # (height, width) of the upright frames -> the parts to take


class VideoReader(Protocol):
    """An open video. Times are seconds from the first frame on display."""

    @property
    def timing(self) -> Timing:
        """Duration and rate."""
        ...

    @property
    def info(self) -> VideoInfo:
        """Duration, rate and size. A frame may have to be decoded to find the size."""
        ...

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel over its height in the upright picture; call ``info`` or read a frame before."""
        ...

    def clips(self, times: Sequence[float] | np.ndarray, grids: Grids) -> list[torch.Tensor]:
        """Return the frames on display at ``times`` (seconds, in any order, with repeats), for each grid.

        Args:
            times: [T], of all wanted frames, because the file is read once from start to end.
            grids: called once, when the size of the frames is known; returns the wanted pixels.

        Returns:
            uint8 [C,T,rows,columns], RGB, contiguous, for each grid.

        Raises:
            DecodeError: if a frame cannot be decoded.
        """
        ...

    def close(self) -> None:
        """Release the file and the decoder."""
        ...


class Outputs:
    """Collect the results of ``VideoReader.clips`` frame by frame.

    ``wanted`` are the distinct indices of frames, increasing.
    """

    def __init__(self, starts: np.ndarray, times: Sequence[float] | np.ndarray, grids: Grids) -> None:
        self.wanted = frame_on_display(starts, times)
        self._order: np.ndarray | None = None  # the position in ``wanted`` of each time; None: 0, 1, ...
        if (self.wanted[1:] <= self.wanted[:-1]).any():
            self.wanted, self._order = np.unique(self.wanted, return_inverse=True)
        self._grids_of = grids
        self._grids: Sequence[Grid] | None = None
        self._pixels: list[torch.Tensor] = []
        self._resamplers: list[Resampler] = []
        self._about: Planes | None = None
        self.size = (0, 0)

    def again(self, starts: np.ndarray, times: Sequence[float] | np.ndarray) -> Outputs:
        """Return an object for other start times with the same grids, which may be random."""
        other = Outputs(starts, times, self._grids_of)
        other._grids, other.size = self._grids, self.size
        return other

    def put(self, position: int, planes: Sequence[torch.Tensor], about: Planes) -> None:
        """Store the pixels of frame ``wanted[position]``; the first of its planes has the size of the frame.

        Raises:
            ValueError: if its size differs from that of the frames before.
        """
        size = (planes[0].shape[0], planes[0].shape[1])
        if self._grids is None:
            self._grids, self.size = self._grids_of(*size), size
        if size != self.size:
            change = f"from {self.size[1]} x {self.size[0]} to {size[1]} x {size[0]} pixels"
            raise ValueError(f"the size of its frames changes {change}")
        if not self._pixels:
            count = len(self.wanted)
            self._pixels = [torch.empty(3, count, grid.rows, grid.columns, dtype=torch.uint8) for grid in self._grids]
        if about != self._about:
            self._about, self._resamplers = about, [Resampler(about, grid) for grid in self._grids]
        for pixels, resampler in zip(self._pixels, self._resamplers, strict=True):
            resampler(pixels[:, position], planes)

    def clips(self) -> list[torch.Tensor]:
        """Return the result of ``VideoReader.clips``, after ``put`` for every wanted frame."""
        if self._order is None:
            return self._pixels
        order = torch.from_numpy(self._order)
        return [pixels.index_select(1, order) for pixels in self._pixels]


def whole_frame(short_side: int | None) -> Grids:
    """Return the grid of a whole frame with the shorter side scaled to ``short_side`` pixels (None: not scaled)."""

    def grids(height: int, width: int) -> tuple[Grid]:
        columns, rows = scaled_size(width=width, height=height, short_side=short_side)
        return (Grid(0.0, 0.0, height / rows, width / columns, rows, columns),)

    return grids


def scaled_size(*, width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """Return (width, height) scaled so that the shorter side is ``short_side``; None does not scale."""
    if short_side is None:
        return width, height
    short = min(width, height)
    return max(1, round(width * short_side / short)), max(1, round(height * short_side / short))


def frame_on_display(starts: np.ndarray, times: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the frame on display at each time, the last one that has started.

    ::

        starts   0.0     0.1           0.4  0.5          (a gap: frame 1 stays on display)
        time         0.05     0.2  0.3          0.7
        frame        0        1    1            3

    Args:
        starts: float64 [N], increasing start times in seconds.
        times: [T] in seconds; times before the first frame select it, times after the end select the last one.

    Returns:
        int64 [T], indices into ``starts``.
    """
    wanted = np.asarray(times, dtype=np.float64) + START_TOLERANCE_SECONDS
    return np.maximum(np.searchsorted(starts, wanted, side="right") - 1, 0)
