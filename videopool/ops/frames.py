"""Decoded frames to training pixels: the wanted part, scaled, coloured and mirrored, in one pass.

A decoder gives planes: luma and two of colour, of which the latter mostly have half the rows and columns. Resampling
each plane to the wanted pixels, and colouring only those, costs a fraction of making a whole RGB picture, scaling it,
and cutting a part of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch

from videopool.ops import native


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where the pixels of a result lie on the frame that they are taken from, in pixels of that frame.

    Pixel (i, j) covers the rows from ``top + i * row_step`` on and the columns from ``left + j * column_step`` on, a
    step each. It is the mean of the pixels around, weighed by a triangle: bilinear where the result is enlarged, over
    all pixels (antialiased) where it is reduced, as Pillow and ``torch.nn.functional.interpolate(antialias=True)``
    define it. ``mirrored``: columns are exchanged afterwards.
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
            raise ValueError(f"{self}: steps and sizes must be positive")
        if not all(map(math.isfinite, (self.top, self.left, self.row_step, self.column_step))):
            raise ValueError(f"{self}: positions must be finite")


@dataclasses.dataclass(frozen=True)
class Planes:
    """What the three planes of a frame mean.

    Attributes:
        matrix: three rows of four: red, green and blue are ``matrix @ (first, second, third, 1)``, all in 0..255.
        rows, columns: how many rows and columns of the first plane one of the others stands for.
        left: how far, in their own columns, the others lie to the left of the middle of what they stand for.
    """

    matrix: tuple[tuple[float, float, float, float], ...]
    rows: float = 1.0
    columns: float = 1.0
    left: float = 0.0


RGB = Planes(((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)))


class Resampler:
    """Takes the pixels of ``grid`` out of frames whose planes mean ``about``; on the CPU."""

    def __init__(self, about: Planes, grid: Grid) -> None:
        self.about = about
        self.grid = grid
        places = (grid.top, grid.left, grid.row_step, grid.column_step, about.rows, about.columns, about.left)
        self._places = torch.tensor(places, dtype=torch.float64)
        self._matrix = torch.tensor(about.matrix, dtype=torch.float64)
        self._native = native.runs_on(torch.device("cpu"))

    def __call__(self, out: torch.Tensor, planes: Sequence[torch.Tensor]) -> None:
        """Writes the pixels of one frame.

        Args:
            out: uint8 [3, grid.rows, grid.columns], red, green and blue; any strides but adjacent columns.
            planes: three uint8 [h,w], any strides; the same one three times for a grey frame.

        Raises:
            ValueError: for another shape or dtype of ``out``.
        """
        grid = self.grid
        if out.shape != (3, grid.rows, grid.columns) or out.dtype != torch.uint8 or out.stride(2) != 1:
            found = f"{out.dtype} {list(out.shape)}, strides {out.stride()}"
            raise ValueError(f"out must be uint8 [3,{grid.rows},{grid.columns}] with adjacent columns, got {found}")
        if self._native:
            torch.ops.videopool.resample_frame_(out, *planes, self._places, self._matrix, grid.mirrored)
        else:
            out.copy_(resampled(planes, self.about, grid).add(0.5).clamp(0, 255))


def resampled(
    planes: Sequence[torch.Tensor], about: Planes, grid: Grid, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """What ``Resampler`` rounds: [3, grid.rows, grid.columns] of ``dtype``, in plain torch: the definition."""
    coloured = []
    for number, plane in enumerate(planes):
        rows, columns, shift = (about.rows, about.columns, about.left) if number else (1.0, 1.0, 0.0)
        down = tap_matrix(plane.shape[0], grid.top / rows, grid.row_step / rows, grid.rows)
        right = tap_matrix(plane.shape[1], grid.left / columns + shift, grid.column_step / columns, grid.columns)
        coloured.append(down.to(dtype) @ plane.to(dtype) @ right.to(dtype).T)
    matrix = torch.tensor(about.matrix, dtype=dtype)
    pixels = torch.einsum("cp,phw->chw", matrix[:, :3], torch.stack(coloured)) + matrix[:, 3, None, None]
    return pixels.flip(2) if grid.mirrored else pixels


def tap_matrix(cells: int, offset: float, step: float, count: int) -> torch.Tensor:
    """The weights of ``cells`` cells in ``count`` results that lie at ``offset + (i + 0.5) * step``: float64
    [count, cells], each row of sum 1."""
    centres = (offset + (torch.arange(count, dtype=torch.float64) + 0.5) * step).clamp(0.5, cells - 0.5)
    distance = (torch.arange(cells, dtype=torch.float64) + 0.5 - centres[:, None]).abs()
    weights = (1 - distance / max(1.0, step)).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)
