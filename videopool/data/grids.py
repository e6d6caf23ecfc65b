"""Which pixels of a frame a crop is made of: pure functions from sizes to ``videopool.ops.frames.Grid``.

A crop of scaled frames needs no scaled frame: its pixels are looked up on the frame as it was decoded.
"""

from __future__ import annotations

from videopool.data.decoding.reader import scaled_size
from videopool.data.sampling import Crop, Region
from videopool.ops.frames import Grid


def square_grid(crop: Crop, *, height: int, width: int, short_side: int) -> Grid:
    """``crop`` of the frame [height, width] after its shorter side was scaled to ``short_side`` pixels."""
    columns, rows = scaled_size(width=width, height=height, short_side=short_side)
    row_step, column_step = height / rows, width / columns
    return Grid(
        crop.top * row_step, crop.left * column_step, row_step, column_step, crop.size, crop.size, mirrored=crop.flip
    )


def region_grid(region: Region, size: int) -> Grid:
    """``region`` of a frame, resized to ``size`` x ``size`` pixels."""
    row_step, column_step = region.height / size, region.width / size
    return Grid(region.top, region.left, row_step, column_step, size, size, mirrored=region.flip)
