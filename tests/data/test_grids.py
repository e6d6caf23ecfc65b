"""A crop of the scaled frame has the same pixels when it is made from the decoded frame."""

from __future__ import annotations

import pytest
import torch

from videopool.data.decoding.reader import scaled_size
from videopool.data.grids import region_grid, scaled_grids
from videopool.data.sampling import Region
from videopool.ops.frames import RGB, Grid, Resampler


@pytest.mark.parametrize(
    ("height", "width", "short_side", "size"), [(36, 50, 30, 24), (50, 36, 36, 20), (30, 41, 48, 40)]
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_square_of_the_scaled_frame(height: int, width: int, short_side: int, size: int, mirrored: bool) -> None:
    frame = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    columns, rows = scaled_size(width=width, height=height, short_side=short_side)
    scaled = torch.nn.functional.interpolate(
        frame[None].double(), size=(rows, columns), mode="bilinear", antialias=True, align_corners=False
    )[0]
    crop = Region(rows - size, (columns - size) // 2, size, size, flip=mirrored)
    expected = scaled[:, crop.top : crop.top + size, crop.left : crop.left + size]
    expected = expected.flip(2) if mirrored else expected
    found = torch.empty(3, size, size, dtype=torch.uint8)
    (grid,) = scaled_grids(short_side, lambda height, width: [crop])(height, width)
    Resampler(RGB, grid)(found, frame.unbind(0))
    assert (found.double() - expected).abs().max() <= 0.51  # rounding only


def test_a_region() -> None:
    assert region_grid(Region(4, 7, 30, 45, flip=True), 15) == Grid(4.0, 7.0, 2.0, 3.0, 15, 15, mirrored=True)
