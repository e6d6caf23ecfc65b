"""Positions of crops for many frame sizes, and settings of clips that are refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videopool.data.sampling import ClipSampling, random_crop, random_short_side, uniform_crops
from videopool.errors import InputError

SAMPLING = ClipSampling(frames=4, stride=2, scale=(64, 80), crop=56, test_scale=64, test_crop=64)


@given(st.integers(8, 90), st.integers(8, 90), st.integers(1, 8), st.integers(0, 1000), st.sampled_from([1, 3]))
def test_crops_are_inside_the_frame(height, width, size, seed, crops):
    drawn = random_crop(height=height, width=width, size=size, flip=False, rng=np.random.default_rng(seed))
    planned = uniform_crops(height=height, width=width, size=size, crops=crops)
    assert len(planned) == crops
    assert not drawn.flip
    for crop in (drawn, *planned):
        assert (crop.height, crop.width) == (size, size)
        assert 0 <= crop.top <= height - size
        assert 0 <= crop.left <= width - size


def test_three_crops_run_along_the_longer_side():
    assert [(crop.top, crop.left) for crop in uniform_crops(height=64, width=100, size=64, crops=3)] == [
        (0, 0),
        (0, 18),
        (0, 36),
    ]
    assert [(crop.top, crop.left) for crop in uniform_crops(height=90, width=70, size=60, crops=3)] == [
        (0, 5),
        (15, 5),
        (30, 5),
    ]
    with pytest.raises(InputError, match=r"crops=2 must be 1 \(center\) or 3"):
        uniform_crops(height=64, width=64, size=64, crops=2)
    with pytest.raises(ValueError, match="does not fit"):
        uniform_crops(height=64, width=63, size=64, crops=1)


def test_draws_reach_both_ends_and_the_mirror():
    rng = np.random.default_rng(1)
    assert {random_short_side(scale=(5, 8), rng=rng) for _ in range(200)} == {5, 6, 7, 8}
    crops = [random_crop(height=4, width=3, size=2, flip=True, rng=rng) for _ in range(400)]
    assert {crop.top for crop in crops} == {0, 1, 2}
    assert {crop.left for crop in crops} == {0, 1}
    assert 150 < sum(crop.flip for crop in crops) < 250


def test_flip_does_not_change_other_draws():
    with_flip = random_crop(height=90, width=90, size=9, flip=True, rng=np.random.default_rng(5))
    without = random_crop(height=90, width=90, size=9, flip=False, rng=np.random.default_rng(5))
    assert (with_flip.top, with_flip.left) == (without.top, without.left)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 0},
        {"stride": 0},
        {"fps": -1.0},
        {"fps": float("nan")},
        {"scale": (80, 64)},
        {"crop": 65},
        {"crop": 0},
        {"test_crop": 65},
        {"window": 2.0},
        {"method": "dense"},
        {"method": "dense", "window": float("inf")},
        {"method": "segments", "window": 1.0},
    ],
)
def test_values_out_of_range_are_refused(change):
    with pytest.raises(InputError) as error:
        dataclasses.replace(SAMPLING, **change)
    assert error.value.setting in (*change, "scale", "window")
