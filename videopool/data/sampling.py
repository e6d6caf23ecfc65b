"""What a clip is, and which part of a frame it shows: pure functions, in pixels. ``clip_times`` says which frames."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from videopool.errors import InputError

REGION_TRIES = 10  # shapes drawn for a region before the largest one in the center is taken
REGION_NUMBERS = 2 * REGION_TRIES + 3  # random numbers that a region takes


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipSampling:
    """How clips are cut: ``frames`` frames, chosen by ``method`` (``clip_times``).

    random: one every ``stride`` frame periods of a video at ``fps`` frames a second (0: the video's own rate); dense:
    spread over ``window`` seconds; segments: one of each of ``frames`` equal parts of the video. A video that is too
    short for that is held, looped or refused (``short``).

    Training: the shorter side is scaled to a random size of the range ``scale`` (pixels, both ends included), a random
    square of ``crop`` pixels is cut, and mirrored every second time if ``flip``. With ``area`` it is instead a random
    part of the frame (``random_region``) that is resized to ``crop`` x ``crop``. Testing: the shorter side is scaled to
    ``test_scale`` and squares of ``test_crop`` are cut.
    """

    frames: int
    stride: int
    fps: float = 0.0
    scale: tuple[int, int]
    crop: int
    flip: bool = True
    test_scale: int
    test_crop: int
    area: tuple[float, float] | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    method: Literal["random", "segments", "dense"] = "random"
    window: float = 0.0
    short: Literal["hold", "loop", "error"] = "hold"

    def __post_init__(self) -> None:
        self._check_times()
        low, high = self.scale
        if not 1 <= self.crop <= low <= high:
            raise InputError(
                f"crop of {self.crop} pixels from a shorter side of {low} to {high}: expected 1 <= crop <= low <= high"
            )
        if not 1 <= self.test_crop <= self.test_scale:
            raise InputError(f"test crop of {self.test_crop} pixels does not fit a shorter side of {self.test_scale}")
        if self.area is not None and not 0 < self.area[0] <= self.area[1] <= 1:
            raise InputError(f"area {list(self.area)}: expected 0 < smallest <= largest <= 1, parts of the frame")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise InputError(f"ratio {list(self.ratio)}: expected 0 < smallest <= largest, width over height")

    def _check_times(self) -> None:
        if self.frames < 1 or self.stride < 1:
            raise InputError(f"clip of {self.frames} frames, stride {self.stride}: both must be at least 1")
        if not (self.fps >= 0 and math.isfinite(self.fps)):
            raise InputError(f"clip rate of {self.fps} fps: expected a positive number, or 0 for the video's own rate")
        if not 0 <= self.window < math.inf or (self.window > 0) != (self.method == "dense"):
            raise InputError(
                f"clip window of {self.window:g} s with sampling {self.method}: dense clips take a window above 0, "
                "others none (0)"
            )


@dataclasses.dataclass(frozen=True)
class Crop:
    """The square of ``size`` pixels whose first row is ``top`` and first column ``left``, mirrored if ``flip``."""

    top: int
    left: int
    size: int
    flip: bool = False


@dataclasses.dataclass(frozen=True)
class Region:
    """The part of ``height`` x ``width`` pixels that begins at row ``top``, column ``left``, mirrored if ``flip``."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False


def random_short_side(*, scale: tuple[int, int], rng: np.random.Generator) -> int:
    """A length from ``scale[0]`` to ``scale[1]`` pixels, both included, all equally likely; one number is drawn."""
    low, high = scale
    return low + math.floor(rng.random() * (high - low + 1))


def random_crop(*, height: int, width: int, size: int, flip: bool, rng: np.random.Generator) -> Crop:
    """A random square inside [height, width], mirrored every second time if ``flip``; three numbers are drawn.

    Raises:
        ValueError: if the square does not fit.
    """
    _check_crop(height, width, size)
    top = math.floor(rng.random() * (height - size + 1))
    left = math.floor(rng.random() * (width - size + 1))
    mirrored = rng.random() < 0.5  # drawn in any case, so that the setting does not change the other draws
    return Crop(top, left, size, flip and bool(mirrored))


def random_region(*, height: int, width: int, sampling: ClipSampling, numbers: Sequence[float] | np.ndarray) -> Region:
    """A part of [height, width] of random area and shape, the "random resized crop" of image recipes.

    Its area is drawn from ``sampling.area`` (parts of the whole; None is the whole), its width over height from
    ``sampling.ratio``, evenly in the logarithm; its place evenly from all that fit. The first of ``REGION_TRIES``
    shapes that fits is taken; if none does, the largest part in the center whose ratio is allowed. (Szegedy et al.,
    "Going Deeper with Convolutions", CVPR 2015, section 6.)

    Args:
        height, width: of the frame.
        sampling: area, ratio and flip.
        numbers: ``REGION_NUMBERS`` random numbers from [0, 1): of each shape its area and ratio, then the place (top,
            left) and the mirror.
    """
    *shapes, top, left, mirror = numbers
    low, high = sampling.area or (1.0, 1.0)
    narrow, wide = sampling.ratio
    mirrored = sampling.flip and bool(mirror < 0.5)
    for part, shape in zip(shapes[::2], shapes[1::2], strict=True):
        cells = height * width * (low + part * (high - low))
        aspect = narrow * (wide / narrow) ** shape
        rows, columns = round(math.sqrt(cells / aspect)), round(math.sqrt(cells * aspect))
        if 1 <= rows <= height and 1 <= columns <= width:
            first_row, first_column = math.floor(top * (height - rows + 1)), math.floor(left * (width - columns + 1))
            return Region(first_row, first_column, rows, columns, mirrored)
    return _central_region(height, width, sampling.ratio, mirrored)


def _central_region(height: int, width: int, ratio: tuple[float, float], flip: bool) -> Region:
    """The largest part in the center with a ratio within ``ratio``."""
    columns = min(width, max(1, round(height * ratio[1])))
    rows = min(height, max(1, round(width / ratio[0])))
    return Region((height - rows) // 2, (width - columns) // 2, rows, columns, flip)


def uniform_crops(*, height: int, width: int, size: int, crops: int) -> tuple[Crop, ...]:
    """One square in the center, or three along the longer side: its start, center and end. ::

        +-----+-----+-----+
        |  0  |  1  |  2  |        (they overlap where the longer side is below 3 * size)
        +-----+-----+-----+

    Raises:
        InputError: for another number of crops.
        ValueError: if the square does not fit.
    """
    check_crops(crops)
    _check_crop(height, width, size)
    top, left = (height - size) // 2, (width - size) // 2
    if crops == 1:
        return (Crop(top, left, size),)
    if width >= height:
        return tuple(Crop(top, column, size) for column in (0, left, width - size))
    return tuple(Crop(row, left, size) for row in (0, top, height - size))


def check_crops(crops: int) -> None:
    """Raise InputError unless ``crops`` is 1 or 3."""
    if crops not in (1, 3):
        raise InputError(f"evaluate.crops={crops}: expected 1 (center) or 3 (along the longer side)")


def _check_crop(height: int, width: int, size: int) -> None:
    if size > min(height, width):
        raise ValueError(f"crop of {size} pixels does not fit frames of {height} x {width}")
