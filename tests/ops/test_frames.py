"""The pixels of a grid: against loops over the formula, Pillow, and the same kernel for other processors."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videopool.ops.frames import RGB, Grid, Planes, Resampler, resampled, tap_matrix

HALVED = Planes(((1.1, 0.2, 0.3, -20.0), (1.1, -0.4, 0.1, 30.0), (0.9, 0.5, -0.2, 5.0)), rows=2, columns=2, left=0.25)


def pixels(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (height, width), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def resample(planes: list[torch.Tensor], about: Planes, grid: Grid) -> torch.Tensor:
    out = torch.full((3, grid.rows, grid.columns), 77, dtype=torch.uint8)
    Resampler(about, grid)(out, planes)
    return out


def slow_weights(cells: int, offset: float, step: float, index: int) -> list[float]:
    """The weight of every cell in one result, by the definition: a triangle around its center."""
    center = min(max(offset + (index + 0.5) * step, 0.5), cells - 0.5)
    reach = max(1.0, step)
    heights = [max(0.0, 1 - abs(cell + 0.5 - center) / reach) for cell in range(cells)]
    return [height / sum(heights) for height in heights]


def slow_pixel(planes: list[torch.Tensor], about: Planes, grid: Grid, row: int, column: int) -> list[float]:
    values = []
    for number, plane in enumerate(planes):
        rows, columns, left = (about.rows, about.columns, about.left) if number else (1.0, 1.0, 0.0)
        down = slow_weights(plane.shape[0], grid.top / rows, grid.row_step / rows, row)
        right = slow_weights(plane.shape[1], grid.left / columns + left, grid.column_step / columns, column)
        values.append(float(np.array(down) @ plane.double().numpy() @ np.array(right)))
    return [sum(m * v for m, v in zip(line, [*values, 1.0], strict=True)) for line in about.matrix]


GRIDS = [
    Grid(0.0, 0.0, 1.0, 1.0, 24, 36),
    Grid(2.3, 1.7, 0.8, 0.45, 20, 40, mirrored=True),
    Grid(-3.0, 20.0, 1.3, 1.9, 21, 17),  # over the edges
    Grid(0.0, 0.0, 3.1, 2.2, 7, 16),
    Grid(0.0, 0.5, 7.0, 5.0, 3, 7, mirrored=True),
]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("about", [RGB, HALVED], ids=["rgb", "halved"])
def test_against_the_formula(grid: Grid, about: Planes) -> None:
    """The kernel rounds what plain torch computes in float64, and that is the formula, pixel by pixel."""
    small = (12, 18) if about is HALVED else (24, 36)
    planes = [pixels(24, 36), pixels(*small, seed=1), pixels(*small, seed=2)]
    exact = resampled(planes, about, grid, torch.float64)
    for row in (0, grid.rows // 2, grid.rows - 1):
        for column in (0, grid.columns // 3, grid.columns - 1):
            at = grid.columns - 1 - column if grid.mirrored else column
            assert exact[:, row, at].tolist() == pytest.approx(slow_pixel(planes, about, grid, row, column), abs=1e-9)
    found = resample(planes, about, grid)
    # Sums in float32 may round differently if a value is within 1e-3 of the middle of two.
    assert (found.double() - exact.clamp(0, 255)).abs().max() <= 0.501


@pytest.mark.slow
@given(
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    counts=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    steps=st.tuples(st.floats(0.05, 9.0), st.floats(0.05, 9.0)),
    places=st.tuples(st.floats(-30, 80), st.floats(-30, 80)),
    mirrored=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_any_grid_on_any_frame(sizes, counts, steps, places, mirrored) -> None:
    """Also for a grid outside the frame, where the edge is repeated."""
    grid = Grid(*places, *steps, *counts, mirrored=mirrored)
    planes = [pixels(*sizes, seed=number) for number in range(3)]
    exact = resampled(planes, RGB, grid, torch.float64)
    assert (resample(planes, RGB, grid).double() - exact).abs().max() <= 0.501


@given(st.integers(1, 50), st.floats(-20, 60), st.floats(0.05, 9.0), st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_weights_are_a_mean_of_neighbors(cells, offset, step, count) -> None:
    weights = tap_matrix(cells, offset, step, count)
    assert weights.sum(1).tolist() == pytest.approx([1.0] * count)
    assert (weights >= 0).all()
    assert int((weights > 0).sum(1).max()) <= math.ceil(2 * max(1.0, step)) + 1


def test_strides_do_not_matter() -> None:
    picture = torch.stack([pixels(30, 40, seed) for seed in range(3)], 2)  # [H,W,3], as decoders of images give it
    apart = [plane.contiguous() for plane in picture.unbind(2)]
    padded = torch.zeros(30, 64, dtype=torch.uint8)
    padded[:, :40] = apart[0]
    grid = Grid(1.5, 2.5, 1.2, 1.1, 22, 33)
    expected = resample(apart, RGB, grid)
    assert torch.equal(resample(list(picture.unbind(2)), RGB, grid), expected)
    assert torch.equal(resample([padded[:, :40], *apart[1:]], RGB, grid), expected)
    spread = [torch.zeros(30, 80, dtype=torch.uint8)[:, ::2].copy_(plane) for plane in apart]
    assert torch.equal(resample(spread, RGB, grid), expected)
    clip = torch.zeros(3, 4, 22, 33, dtype=torch.uint8)
    Resampler(RGB, grid)(clip[:, 2], apart)
    assert torch.equal(clip[:, 2], expected)
    assert not clip[:, [0, 1, 3]].any()


def test_grids_in_turn_do_not_meet() -> None:
    """The weights of several grids are kept between frames."""
    planes = [pixels(40, 50, seed) for seed in range(3)]
    grids = [Grid(k, 2 * k, 1 + k / 10, 1.5, 20, 18 + k, mirrored=bool(k % 2)) for k in range(7)]
    alone = [resample(planes, RGB, grid) for grid in grids]
    for _ in range(2):
        for grid, expected in zip(grids, alone, strict=True):
            assert torch.equal(resample(planes, RGB, grid), expected)
            assert (expected.double() - resampled(planes, RGB, grid, torch.float64)).abs().max() <= 0.501


SCRIPT = """
import hashlib, torch
from tests.ops.test_frames import GRIDS, HALVED, RGB, pixels, resample
digest = hashlib.sha256()
for about in (RGB, HALVED):
    planes = [pixels(90, 130), *(pixels(45, 65, s) if about is HALVED else pixels(90, 130, s) for s in (1, 2))]
    for grid in GRIDS:
        digest.update(resample(planes, about, grid).numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="runs on Linux, where instruction sets are chosen at run time")
def test_every_instruction_set_gives_the_same_bytes() -> None:
    digests = set()
    for name in ("baseline", ""):
        environment = {**os.environ, "VIDEOPOOL_ISA": name}
        digests.add(
            subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True, capture_output=True).stdout
        )
    assert len(digests) == 1
    assert len(digests.pop().strip()) == len(hashlib.sha256().hexdigest())


def test_the_plain_form_gives_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fallback without a compiler; float32 sums in another order may round differently."""
    planes = [pixels(40, 50, seed) for seed in range(3)]
    native = resample(planes, RGB, GRIDS[1])
    monkeypatch.setattr("videopool.ops.native._LOADED", type("No", (), {"cpu": False, "cuda": False})())
    assert not Resampler(RGB, GRIDS[1])._native
    assert (resample(planes, RGB, GRIDS[1]).int() - native.int()).abs().max() <= 1


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="Steps and sizes of"):
        Grid(0.0, 0.0, 0.0, 1.0, 4, 4)
    with pytest.raises(ValueError, match="must be finite"):
        Grid(math.nan, 0.0, 1.0, 1.0, 4, 4)
    planes = [pixels(8, 8)] * 3
    for out in (torch.empty(3, 4, 5, dtype=torch.uint8), torch.empty(3, 4, 4), torch.empty(4, 4, 3).permute(2, 0, 1)):
        with pytest.raises(ValueError, match=r"out must be uint8 \[3,4,4\]"):
            Resampler(RGB, Grid(0.0, 0.0, 1.0, 1.0, 4, 4))(out, planes)
    with pytest.raises(RuntimeError, match="plane must be uint8"):
        resample([plane.float() for plane in planes], RGB, Grid(0.0, 0.0, 1.0, 1.0, 4, 4))
