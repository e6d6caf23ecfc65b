"""Pure functions from a region to its pixels on the decoded frame, a ``videopool.ops.frames.Grid``.

So a part of a scaled frame is made without scaling the whole frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from videopool.data.decoding.reader import Grids, scaled_size
from videopool.data.sampling import Region
from videopool.ops.frames import Grid


def scaled_grids(short_side: int, regions: Callable[[int, int], Sequence[Region]]) -> Grids:
    """Return the grids of ``regions(height, width)``, which count pixels of frames scaled to ``short_side``."""

    def grids(height: int, width: int) -> list[Grid]:
        columns, rows = scaled_size(width=width, height=height, short_side=short_side)
        down, right = height / rows, width / columns
        return [
            Grid(part.top * down, part.left * right, down, right, part.height, part.width, mirrored=part.flip)
            for part in regions(rows, columns)
        ]

    return grids


def region_grid(region: Region, size: int) -> Grid:
    """Return the grid of ``region`` of a frame, resized to ``size`` x ``size`` pixels."""
    row_step, column_step = region.height / size, region.width / size
    return Grid(region.top, region.left, row_step, column_step, size, size, mirrored=region.flip)
