"""Pure functions from a crop to its pixels on the decoded frame, a ``videopool.ops.frames.Grid``.

So a crop of a scaled frame is made without scaling the whole frame.
"""

from __future__ import annotations

from videopool.data.decoding.reader import scaled_size
from videopool.data.sampling import Crop, Region
from videopool.ops.frames import Grid


def square_grid(crop: Crop, *, height: int, width: int, short_side: int) -> Grid:
    """Return the grid of ``crop``, which counts pixels of the frame [height, width] scaled to ``short_side``."""
    columns, rows = scaled_size(width=width, height=height, short_side=short_side)
    row_step, column_step = height / rows, width / columns
    return Grid(
        crop.top * row_step, crop.left * column_step, row_step, column_step, crop.size, crop.size, mirrored=crop.flip
    )


def region_grid(region: Region, size: int) -> Grid:
    """Return the grid of ``region`` of a frame, resized to ``size`` x ``size`` pixels."""
    row_step, column_step = region.height / size, region.width / size
    return Grid(region.top, region.left, row_step, column_step, size, size, mirrored=region.flip)
