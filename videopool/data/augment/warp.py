"""Affine movements of the frames of a batch of clips, one a clip, the same for all of its frames.

A movement is a matrix [2,3] that leads from a place in the result to the place in the source whose color it takes.
Places are (x, y) from the center of the frame, x to the right and y down, in pixels; the last column is in widths and
heights of the frame.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def warp(levels: torch.Tensor, matrices: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
    """Moves the frames of ``levels`` float32 [N,C,T,H,W] by ``matrices`` float32 [N,2,3], bilinearly.

    ``fill`` float32 [C] is the color outside of the frame. Both may be on the CPU. The levels are overwritten; the
    result is another tensor.
    """
    clips, channels, frames, height, width = levels.shape
    # grid_sample counts both axes from -1 to 1, so x and y have other units where a frame is not square.
    units = matrices * matrices.new_tensor([[1, height / width, 2], [width / height, 1, 2]])
    grid = functional.affine_grid(units.to(levels.device, non_blocking=True), [clips, 1, height, width], False)
    color = fill.to(levels.device, non_blocking=True).view(1, -1, 1, 1, 1)
    pictures = levels.sub_(color).reshape(clips, channels * frames, height, width)
    moved = functional.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved.view_as(levels).add_(color)


def rotation(strength: torch.Tensor) -> torch.Tensor:
    """Matrices [N,2,3] that turn frames by ``strength`` [N] degrees, counter-clockwise, about their center."""
    angle = torch.deg2rad(strength)
    return _matrices(xx=angle.cos(), xy=-angle.sin(), yx=angle.sin(), yy=angle.cos())


def shear_x(strength: torch.Tensor) -> torch.Tensor:
    """Matrices [N,2,3] that shift each row by ``strength`` [N] of its distance below the center, to the left."""
    return _matrices(xy=strength)


def shear_y(strength: torch.Tensor) -> torch.Tensor:
    """Matrices [N,2,3] that shift each column by ``strength`` [N] of its distance right of the center, upwards."""
    return _matrices(yx=strength)


def translation_x(strength: torch.Tensor) -> torch.Tensor:
    """Matrices [N,2,3] that shift frames to the left by ``strength`` [N] of their width."""
    return _matrices(x=strength)


def translation_y(strength: torch.Tensor) -> torch.Tensor:
    """Matrices [N,2,3] that shift frames upwards by ``strength`` [N] of their height."""
    return _matrices(y=strength)


def _matrices(**entries: torch.Tensor) -> torch.Tensor:
    """[N,2,3] with these entries, [N] each, and of the identity where none is given."""
    zero = torch.zeros_like(next(iter(entries.values())))
    entries = {"xx": zero + 1, "yy": zero + 1, **entries}
    rows = [[entries.get(name, zero) for name in row] for row in (("xx", "xy", "x"), ("yx", "yy", "y"))]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
