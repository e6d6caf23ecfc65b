"""Affine operations compared with a slow reference, and the draws and results of RandAugment."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.data.patchwork import some_clips
from videopool.data.augment import OPERATIONS, RandAugment, levels, warp
from videopool.data.augment.rand_augment import RandDraws, apply_operations
from videopool.errors import InputError

FILL = (10.0, 120.0, 250.0)
GEOMETRY = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


def slow_matrix(name: str, strength: float, height: int, width: int) -> np.ndarray:
    """Return [2,3] from (x, y) of the result to (x, y) of the source, in pixels from the center."""
    if name == "rotate":
        cos, sin = math.cos(math.radians(strength)), math.sin(math.radians(strength))
        return np.array([[cos, -sin, 0], [sin, cos, 0]])
    matrix = np.array([[1.0, 0, 0], [0, 1, 0]])
    matrix[{"shear_x": (0, 1), "shear_y": (1, 0), "translate_x": (0, 2), "translate_y": (1, 2)}[name]] = strength
    matrix[:, 2] *= [width, height]
    return matrix


def slow_warp(frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Transform a frame [3,H,W] in float64, pixel by pixel; FILL surrounds it."""
    _, height, width = frame.shape
    result = np.empty_like(frame)
    for row, column in np.ndindex(height, width):
        x, y = matrix @ [column + 0.5 - width / 2, row + 0.5 - height / 2, 1]
        x, y = x + width / 2 - 0.5, y + height / 2 - 0.5
        color = np.zeros(3)
        for i in (math.floor(y), math.floor(y) + 1):
            for j in (math.floor(x), math.floor(x) + 1):
                inside = 0 <= i < height and 0 <= j < width
                color += (1 - abs(y - i)) * (1 - abs(x - j)) * (frame[:, i, j] if inside else np.array(FILL))
        result[:, row, column] = color
    return result


@pytest.mark.parametrize("name", GEOMETRY)
def test_affine_operations_against_a_slow_reference(name: str) -> None:
    clips, strengths = some_clips(count=2, frames=2, height=12, width=20), (0.21, -0.37)
    strengths = tuple(60 * value for value in strengths) if name == "rotate" else strengths
    moved = OPERATIONS[name].change(clips.float(), torch.tensor(strengths), torch.tensor(FILL))
    for number, strength in enumerate(strengths):
        matrix = slow_matrix(name, strength, 12, 20)
        for time in range(2):
            expected = torch.from_numpy(slow_warp(clips[number, :, time].double().numpy(), matrix))
            # Positions have the error of float32 near 1, times 20 pixels and differences of up to 255 levels.
            torch.testing.assert_close(moved[number, :, time].double(), expected, rtol=0, atol=8 * 2**-24 * 20 * 255)


def test_directions() -> None:
    frame = torch.arange(9.0).view(1, 1, 1, 3, 3)
    fill = torch.tensor([-1.0])
    turned = warp.warp(frame.clone(), warp.rotation(torch.tensor([90.0])), fill)
    torch.testing.assert_close(turned[0, 0, 0], torch.rot90(frame[0, 0, 0]), rtol=0, atol=1e-5)  # counter-clockwise
    left = warp.warp(frame.clone(), warp.matrices(x=torch.tensor([1 / 3])), fill)
    torch.testing.assert_close(left[0, 0, 0], torch.tensor([[1.0, 2, -1], [4, 5, -1], [7, 8, -1]]), rtol=0, atol=1e-5)


def test_operations_are_those_of_the_paper() -> None:
    paper = "identity autocontrast equalize rotate solarize color posterize contrast brightness sharpness"
    assert set(OPERATIONS) == {*paper.split(), "shear_x", "shear_y", "translate_x", "translate_y"}


def test_magnitude_0_is_neutral_and_10_the_strongest() -> None:
    clips = some_clips(count=len(OPERATIONS))
    names = np.array([sorted(OPERATIONS)])
    for magnitude in (0.0, 10.0):
        draws = RandAugment(1, magnitude).draw(2000, np.random.default_rng(0))
        assert set(draws.names.flat) == set(OPERATIONS)
        for name, operation in OPERATIONS.items():
            drawn = set(np.unique(draws.strengths[draws.names == name]).tolist())
            reach = (operation.strongest - operation.mildest) * magnitude / 10
            ends = {operation.mildest + reach} | ({operation.mildest - reach} if operation.both_ways else set())
            assert drawn == {float(np.float32(end)) for end in ends}
    mild = np.array([[OPERATIONS[name].mildest for name in names[0]]], dtype=np.float32)
    found = apply_operations(clips, RandDraws(names, mild), FILL)
    for name, before, after in zip(names[0], clips, found, strict=True):
        assert torch.equal(before, after) == (name not in ("autocontrast", "equalize")), name


def test_deviation_spreads_magnitudes_within_the_scale() -> None:
    draws = RandAugment(2, 7.0, deviation=1.0).draw(20_000, np.random.default_rng(0))
    angles = np.abs(draws.strengths[draws.names == "rotate"]) / 3  # magnitudes
    assert angles.max() <= 10
    assert abs(angles.mean() - 7) < 0.1
    assert abs(angles.std() - 1) < 0.1
    signs = np.sign(draws.strengths[draws.names == "rotate"])
    assert abs(signs.mean()) < 0.06  # about 2900 draws
    counts = np.array([(draws.names == name).sum() for name in OPERATIONS])
    assert (np.abs(counts / 40_000 * len(OPERATIONS) - 1) < 0.1).all()


def test_each_clip_has_its_own_operations_in_their_order() -> None:
    clips = some_clips(count=16)
    before, step = clips.clone(), RandAugment(3, 9.0, deviation=0.5, fill=FILL)
    draws = step.draw(16, np.random.default_rng(5))
    together = step(clips, np.random.default_rng(5))
    assert torch.equal(clips, before)
    for number in range(16):
        clip = clips[number : number + 1]
        for name, strength in zip(draws.names[:, number], draws.strengths[:, number], strict=True):
            changed = OPERATIONS[name].change(clip.float(), torch.tensor([strength]), torch.tensor(FILL))
            clip = levels.to_uint8(changed)
        assert torch.equal(clip[0], together[number]), number
    at_once = apply_operations(clips, draws, FILL, at_once=16)  # sums may be rounded differently before more operations
    assert ((at_once.int() - together.int()).abs() > 2).float().mean() < 0.01


@pytest.mark.parametrize(
    ("wrong", "setting"),
    [
        ((0, 5.0, 0.0), "operations"),
        ((2, 11.0, 0.0), "magnitude"),
        ((2, -1.0, 0.0), "magnitude"),
        ((2, 5.0, -1.0), "deviation"),
        ((2, math.nan, 0.0), "magnitude"),
    ],
)
def test_values_out_of_range_are_refused(wrong: tuple[int, float, float], setting: str) -> None:
    with pytest.raises(InputError, match=f"{setting}=.* must be") as error:
        RandAugment(*wrong)
    assert error.value.setting == setting
