"""Affine transforms of the frames of a batch of clips: one for each clip, the same for all of its frames.

A matrix [2,3] maps a position in the result to the position in the source whose color it takes. Positions are (x, y)
from the center of the frame, x to the right and y down, in pixels; the last column is in widths and heights of the
frame.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def warp(levels: torch.Tensor, matrices: torch.Tensor, fill: torch.Tensor) -> torch.Tensor:
    """Transform the frames of ``levels`` float32 [N,C,T,H,W] by ``matrices`` float32 [N,2,3], bilinearly.

    ``fill`` float32 [C] is the color outside the frame. Matrices and fill may be on the CPU. The result is a new
    tensor; ``levels`` is overwritten.
    """
    clips, channels, frames, height, width = levels.shape
    # grid_sample scales both axes to -1..1, so x and y have different units if a frame is not square.
    units = matrices * matrices.new_tensor([[1, height / width, 2], [width / height, 1, 2]])
    grid = functional.affine_grid(units.to(levels.device, non_blocking=True), [clips, 1, height, width], False)
    color = fill.to(levels.device, non_blocking=True).view(1, -1, 1, 1, 1)
    pictures = levels.sub_(color).reshape(clips, channels * frames, height, width)
    moved = functional.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved.view_as(levels).add_(color)


def rotation(strength: torch.Tensor) -> torch.Tensor:
    """Return matrices [N,2,3] that rotate frames counter-clockwise about their center by ``strength`` [N] degrees."""
    angle = torch.deg2rad(strength)
    return matrices(xx=angle.cos(), xy=-angle.sin(), yx=angle.sin(), yy=angle.cos())


def matrices(**entries: torch.Tensor) -> torch.Tensor:
    """Return matrices [N,2,3] with these entries ([N] each); the others are those of the identity.

    ``xy`` and ``x`` above 0 shift rows and frames to the left, ``yx`` and ``y`` shift columns and frames up.
    """
    zero = torch.zeros_like(next(iter(entries.values())))
    entries = {"xx": zero + 1, "yy": zero + 1, **entries}
    rows = [[entries.get(name, zero) for name in row] for row in (("xx", "xy", "x"), ("yx", "yy", "y"))]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
