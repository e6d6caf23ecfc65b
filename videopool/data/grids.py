"""Pure functions from a region to its pixels on the decoded frame, a ``videopool.ops.frames.Grid``.

So a part of a scaled frame is made without scaling the whole frame.
"""

from __future__ import annotations

from videopool.data.decoding.reader import scaled_size
from videopool.data.sampling import Region
from videopool.ops.frames import Grid


def scaled_grid(region: Region, *, height: int, width: int, short_side: int) -> Grid:
    """Return the grid of ``region``, which counts pixels of the frame [height, width] scaled to ``short_side``."""
    columns, rows = scaled_size(width=width, height=height, short_side=short_side)
    row_step, column_step = height / rows, width / columns
    top, left = region.top * row_step, region.left * column_step
    return Grid(top, left, row_step, column_step, region.height, region.width, mirrored=region.flip)


def region_grid(region: Region, size: int) -> Grid:
    """Return the grid of ``region`` of a frame, resized to ``size`` x ``size`` pixels."""
    row_step, column_step = region.height / size, region.width / size
    return Grid(region.top, region.left, row_step, column_step, size, size, mirrored=region.flip)
