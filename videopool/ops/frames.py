"""Crop, scale, convert to RGB and mirror decoded frames in one pass.

A decoder gives one plane of luma and two of chroma, which usually have half the rows and columns. Resampling each plane
to the pixels of the crop, and converting only those, costs a fraction of converting, scaling and cropping whole frames.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import torch

from videopool.ops import native


@dataclasses.dataclass(frozen=True)
class Grid:
    """The positions of the result's pixels in the frame, in pixels of the frame.

    Pixel (i, j) covers one step of rows from ``top + i * row_step`` and of columns from ``left + j * column_step``. It
    is the mean of the pixels around it with triangular weights: bilinear for enlarging, antialiased over all pixels for
    reducing, as defined by Pillow and ``torch.nn.functional.interpolate(antialias=True)``. ``mirrored`` reverses the
    columns of the result.
    """

    top: float
    left: float
    row_step: float
    column_step: float
    rows: int
    columns: int
    mirrored: bool = False

    def __post_init__(self) -> None:
        if not (self.row_step > 0 and self.column_step > 0 and self.rows > 0 and self.columns > 0):
            raise ValueError(f"Steps and sizes of {self} must be positive")
        if not all(map(math.isfinite, (self.top, self.left, self.row_step, self.column_step))):
            raise ValueError(f"Positions of {self} must be finite")


@dataclasses.dataclass(frozen=True)
class Planes:
    """How the three planes of a frame encode its colors.

    Attributes:
        matrix: three rows of four: red, green and blue are ``matrix @ (first, second, third, 1)``, all in 0..255.
        rows, columns: how many rows and columns of the first plane one row and column of the others covers.
        left: how far, in their own columns, samples of the others are left of the center of what they cover.
    """

    matrix: tuple[tuple[float, float, float, float], ...]
    rows: float = 1.0
    columns: float = 1.0
    left: float = 0.0


RGB = Planes(((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)))


class Resampler:
    """Resample frames with planes as in ``about`` to the pixels of ``grid``, on the CPU."""

    def __init__(self, about: Planes, grid: Grid) -> None:
        self.about = about
        self.grid = grid
        places = (grid.top, grid.left, grid.row_step, grid.column_step, about.rows, about.columns, about.left)
        self._places = torch.tensor(places, dtype=torch.float64)
        self._matrix = _matrix(about)
        self._native = native.runs_on(torch.device("cpu"))

    def __call__(self, out: torch.Tensor, planes: Sequence[torch.Tensor]) -> None:
        """Write the pixels of one frame to ``out``.

        Args:
            out: uint8 [3, grid.rows, grid.columns], red, green and blue; columns must be adjacent, other strides are
                free.
            planes: three uint8 [h,w] of any strides; the same one three times for a gray frame.

        Raises:
            ValueError: for another shape, dtype or stride of ``out``.
        """
        grid = self.grid
        if out.shape != (3, grid.rows, grid.columns) or out.dtype != torch.uint8 or out.stride(2) != 1:
            found = f"{out.dtype} {list(out.shape)}, strides {out.stride()}"
            raise ValueError(f"out must be uint8 [3,{grid.rows},{grid.columns}] with adjacent columns, not {found}")
        if self._native:
            torch.ops.videopool.resample_frame_(out, *planes, self._places, self._matrix, grid.mirrored)
        else:
            out.copy_(resampled(planes, self.about, grid).add(0.5).clamp(0, 255))


@functools.cache
def _matrix(about: Planes) -> torch.Tensor:
    """Return the matrix as float64 [3,4], made once: a training on images asks for it for every image."""
    return torch.tensor(about.matrix, dtype=torch.float64)


def resampled(
    planes: Sequence[torch.Tensor], about: Planes, grid: Grid, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Return the values that ``Resampler`` rounds, [3, grid.rows, grid.columns]: the definition in plain torch."""
    resized = []
    for number, plane in enumerate(planes):
        rows, columns, shift = (about.rows, about.columns, about.left) if number else (1.0, 1.0, 0.0)
        down = tap_matrix(plane.shape[0], grid.top / rows, grid.row_step / rows, grid.rows)
        right = tap_matrix(plane.shape[1], grid.left / columns + shift, grid.column_step / columns, grid.columns)
        resized.append(down.to(dtype) @ plane.to(dtype) @ right.to(dtype).T)
    matrix = torch.tensor(about.matrix, dtype=dtype)
    pixels = torch.einsum("cp,phw->chw", matrix[:, :3], torch.stack(resized)) + matrix[:, 3, None, None]
    return pixels.flip(2) if grid.mirrored else pixels


def tap_matrix(cells: int, offset: float, step: float, count: int) -> torch.Tensor:
    """Return the weights of ``cells`` cells in ``count`` results centered at ``offset + (i + 0.5) * step``.

    They are float64 [count, cells], each row of sum 1.
    """
    centers = (offset + (torch.arange(count, dtype=torch.float64) + 0.5) * step).clamp(0.5, cells - 0.5)
    distance = (torch.arange(cells, dtype=torch.float64) + 0.5 - centers[:, None]).abs()
    weights = (1 - distance / max(1.0, step)).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)
