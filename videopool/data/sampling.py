"""The settings of a clip, and pure functions that choose the part of a frame, in pixels (frames: ``clip_times``)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from videopool.errors import InputError
from videopool.ranges import (
    AT_LEAST_ONE,
    FRAME_RATE,
    POSITIVE,
    POSITIVE_FRACTION,
    Range,
    check_interval,
    check_window,
)

REGION_TRIES = 10  # shapes that are drawn for a region before the largest one in the center is used
REGION_NUMBERS = 2 * REGION_TRIES + 3  # random numbers for a region


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipSampling:
    """How clips are cut out of videos: ``frames`` frames, chosen by ``method`` (see ``clip_times``).

    random: one every ``stride`` frame periods of a video at ``fps`` frames per second (0: the video's own rate); dense:
    evenly over ``window`` seconds; segments: one from each of ``frames`` equal parts of the video. A video that is too
    short is held, looped or an error (``short``).

    Training: scale the shorter side to a random size in the range ``scale`` (pixels, both ends included), cut a random
    square of ``crop`` pixels, and mirror it with probability 1/2 if ``flip``. With ``area``, cut a random region
    instead (``random_region``) and resize it to ``crop`` x ``crop``. With ``most_stride``, each clip has a random
    stride from ``stride`` to ``most_stride``. Testing: scale the shorter side to ``test_scale`` and cut squares of
    ``test_crop``.

    Raises:
        InputError: if a value is out of range.
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
    most_stride: int = 0

    def __post_init__(self) -> None:
        AT_LEAST_ONE.check("frames", self.frames)
        AT_LEAST_ONE.check("stride", self.stride)
        FRAME_RATE.check("fps", self.fps)
        check_window(self.window, self.method)
        AT_LEAST_ONE.check("crop", self.crop)
        check_interval("scale", self.scale, Range(self.crop, note="the crop"))
        if not 1 <= self.test_crop <= self.test_scale:
            raise InputError(
                f"test_crop={self.test_crop} must be from 1 to test_scale={self.test_scale}", setting="test_crop"
            )
        if self.area is not None:
            check_interval("area", self.area, POSITIVE_FRACTION)
        check_interval("ratio", self.ratio, POSITIVE)

    def smaller(self, *, frames: int, area: int) -> ClipSampling:
        """Return the sampling of training clips with 1 / ``frames`` of the frames and 1 / ``area`` of the pixels.

        Such a clip shows a random part of what a full clip would show, up to all of it: its stride is drawn from
        ``stride`` to ``frames * stride``, and its scale from the smallest one, in proportion to the crop, to the
        largest one. ::

            frames=8, stride=2    |* * * * * * * * |
            smaller(frames=4)     |*       *       |     stride 8
                                  |      * *       |     stride 2
                                  |    *    *      |     stride 5

        Dense clips and segments always show all of it. (Wu et al., "A Multigrid Method for Efficiently Training Video
        Models", CVPR 2020, section 3, and its published code.)

        Raises:
            InputError: if ``frames`` does not divide the frames of the clip.
        """
        if self.frames % frames:
            raise InputError(
                f"frames={self.frames} must be a multiple of {frames} for clips with 1/{frames} of the frames",
                setting="frames",
            )
        crop = round(self.crop / math.sqrt(area))
        random = self.method == "random" and frames > 1
        return dataclasses.replace(
            self,
            frames=self.frames // frames,
            most_stride=frames * self.stride if random else 0,
            crop=crop,
            scale=(max(crop, round(self.scale[0] * crop / self.crop)), self.scale[1]),
        )


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of ``height`` x ``width`` pixels that starts at row ``top``, column ``left``, mirrored if ``flip``."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False


def random_stride(sampling: ClipSampling, rng: np.random.Generator) -> ClipSampling:
    """Return ``sampling`` with the stride of one clip; a number is drawn only with ``most_stride``."""
    if not sampling.most_stride:
        return sampling
    return dataclasses.replace(sampling, stride=int(rng.integers(sampling.stride, sampling.most_stride + 1)))


def random_short_side(*, scale: tuple[int, int], rng: np.random.Generator) -> int:
    """Return a uniform random length from ``scale[0]`` to ``scale[1]`` pixels, both included; one number is drawn."""
    low, high = scale
    return low + math.floor(rng.random() * (high - low + 1))


def random_crop(*, height: int, width: int, size: int, flip: bool, rng: np.random.Generator) -> Region:
    """Return a random square in [height, width], mirrored with probability 1/2 if ``flip``; three numbers are drawn.

    Raises:
        ValueError: if the square does not fit.
    """
    _check_crop(height, width, size)
    top = math.floor(rng.random() * (height - size + 1))
    left = math.floor(rng.random() * (width - size + 1))
    mirrored = rng.random() < 0.5  # always drawn, so that ``flip`` does not change other draws
    return Region(top, left, size, size, flip and bool(mirrored))


def random_region(*, height: int, width: int, sampling: ClipSampling, numbers: Sequence[float] | np.ndarray) -> Region:
    """Return a part of [height, width] of random area and shape, the "random resized crop" of image recipes.

    The area is drawn uniformly from ``sampling.area`` (as a fraction of the frame; None is all of it), the logarithm of
    width over height from ``sampling.ratio``, the position from all that fit. The first of ``REGION_TRIES`` shapes that
    fits is used; if none does, the largest central part with an allowed ratio. (Szegedy et al., "Going Deeper with
    Convolutions", CVPR 2015, section 6.)

    Args:
        height, width: of the frame.
        sampling: area, ratio and flip.
        numbers: ``REGION_NUMBERS`` random numbers from [0, 1): area and ratio of each shape, then top, left, mirror.
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
    """Return the largest part in the center whose ratio is within ``ratio``."""
    columns = min(width, max(1, round(height * ratio[1])))
    rows = min(height, max(1, round(width / ratio[0])))
    return Region((height - rows) // 2, (width - columns) // 2, rows, columns, flip)


def uniform_crops(*, height: int, width: int, size: int, crops: int) -> tuple[Region, ...]:
    """Return one square in the center, or three along the longer side: at its start, center and end. ::

        +-----+-----+-----+
        |  0  |  1  |  2  |        (they overlap if the longer side is below 3 * size)
        +-----+-----+-----+

    Raises:
        InputError: if ``crops`` is not 1 or 3.
        ValueError: if the square does not fit.
    """
    check_crops(crops)
    _check_crop(height, width, size)
    top, left = (height - size) // 2, (width - size) // 2
    if crops == 1:
        return (Region(top, left, size, size),)
    if width >= height:
        return tuple(Region(top, column, size, size) for column in (0, left, width - size))
    return tuple(Region(row, left, size, size) for row in (0, top, height - size))


def check_crops(crops: int) -> None:
    """Raise InputError unless ``crops`` is 1 or 3."""
    if crops not in (1, 3):
        raise InputError(f"crops={crops} must be 1 (center) or 3 (along the longer side)", setting="crops")


def _check_crop(height: int, width: int, size: int) -> None:
    if size > min(height, width):
        raise ValueError(f"crop of {size} pixels does not fit frames of {height} x {width}")
