"""Random regions ("random resized crops"): their positions and sizes; all frames of a clip get the same one."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from videopool.config import from_plain
from videopool.data.loading.dataset import TrainClips
from videopool.data.sampling import REGION_NUMBERS, ClipSampling, Region, random_region
from videopool.errors import InputError
from videopool.types import VideoRecord

SAMPLING = ClipSampling(frames=1, stride=1, scale=(24, 32), crop=24, test_scale=24, test_crop=24)
WITH_AREA = dataclasses.replace(SAMPLING, area=(0.08, 1.0))


def region(height: int, width: int, sampling: ClipSampling, seed: int) -> Region:
    numbers = np.random.default_rng(seed).random(REGION_NUMBERS)
    return random_region(height=height, width=width, sampling=sampling, numbers=numbers)


def test_a_region_computed_by_hand() -> None:
    sampling = dataclasses.replace(SAMPLING, area=(0.25, 0.75), ratio=(0.5, 2.0))
    numbers = [0.5, 0.5, *([0.9] * 18), 0.5, 0.25, 0.4]  # area 0.5 of 100 x 200, ratio 1: 100 x 100
    place = random_region(height=100, width=200, sampling=sampling, numbers=numbers)
    assert place == Region(top=0, left=25, height=100, width=100, flip=True)
    # Half of 100 x 200 at ratio 0.5 would have 141 rows, so the next shape is used: 0.25 at ratio 2, 50 x 100.
    numbers = [0.5, 0.0, 0.0, 1.0, *([0.9] * 16), 0.5, 0.25, 0.6]
    place = random_region(height=100, width=200, sampling=sampling, numbers=numbers)
    assert place == Region(top=25, left=25, height=50, width=100, flip=False)


def test_regions_have_the_requested_area_and_ratio_and_reach_every_border() -> None:
    sampling = dataclasses.replace(SAMPLING, area=(0.1, 0.5), ratio=(0.5, 2.0))
    regions = [region(300, 400, sampling, seed) for seed in range(3000)]
    areas = np.array([place.height * place.width / 120000 for place in regions])
    logs = np.log([place.width / place.height for place in regions])
    assert areas.min() > 0.1 * 0.98
    assert areas.max() < 0.5 * 1.02
    assert np.abs(logs).max() < math.log(2) * 1.03
    # Both are uniform if every shape fits; the standard errors of these means are 0.0021 and 0.0073.
    assert areas.mean() == pytest.approx(0.3, abs=0.01)
    assert logs.mean() == pytest.approx(0, abs=0.05)
    assert all(0 <= p.top <= 300 - p.height and 0 <= p.left <= 400 - p.width for p in regions)
    centers = np.array([((p.top + p.height / 2) / 300, (p.left + p.width / 2) / 400) for p in regions])
    np.testing.assert_allclose(centers.mean(0), 0.5, atol=0.02)
    assert 1400 < sum(place.flip for place in regions) < 1600


def test_a_shape_that_never_fits_gives_the_largest_central_region() -> None:
    wide = dataclasses.replace(SAMPLING, area=(0.9, 1.0))
    assert region(10, 200, wide, 0) == dataclasses.replace(
        region(10, 200, wide, 0), top=0, left=93, height=10, width=13
    )
    assert region(200, 12, wide, 0) == dataclasses.replace(
        region(200, 12, wide, 0), top=92, left=0, height=16, width=12
    )
    assert region(1, 1, wide, 0).height == 1


def test_all_frames_of_a_video_get_the_same_region(tmp_path: Path, write_video, read_numbers) -> None:
    whole = ClipSampling(
        frames=4, stride=2, scale=(48, 48), crop=48, flip=False, test_scale=48, test_crop=48, area=(1.0, 1.0),
        ratio=(1.5, 1.5),
    )  # fmt: skip
    long = write_video(tmp_path / "long.mp4", 20, size=(96, 64), fps=10)
    clip = TrainClips([VideoRecord("long", long, 0)], whole, seed=0)[0, 0].frames
    assert clip.shape == (3, 4, 48, 48)
    assert np.diff(read_numbers(clip)).tolist() == [2, 2, 2]  # all bars are visible, narrower
    held = VideoRecord("frame 5", long, 0, start_seconds=0.5, end_seconds=0.6)
    parts = TrainClips([held], dataclasses.replace(whole, area=(0.1, 0.6)), seed=0)
    for epoch in range(5):
        clip = parts[epoch, 0].frames
        assert all(torch.equal(clip[:, 0], clip[:, t]) for t in range(4))
    assert not torch.equal(parts[0, 0].frames, parts[1, 0].frames)


@pytest.mark.parametrize(
    "change",
    [
        {"area": (0.0, 1.0)},
        {"area": (0.5, 0.2)},
        {"area": (0.5, 1.1)},
        {"ratio": (2.0, 1.0)},
        {"ratio": (0.0, 1.0)},
        {"ratio": (1.0, math.inf)},
    ],
)
def test_areas_and_ratios_out_of_range_are_refused(change: dict) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        dataclasses.replace(WITH_AREA, **change)


@pytest.mark.parametrize("keys", [{"area": [0.5]}, {"area": [0, 1]}, {"area": [0.2, 1.5]}, {"ratio": [1.5, 1]}])
def test_impossible_keys_are_refused(keys: dict) -> None:
    name = next(iter(keys))
    with pytest.raises(InputError, match=rf"clip\.{name}=.* must be"):
        from_plain({"clip": keys}, "the test")
    assert from_plain({"clip": {"area": []}}, "the test").clip.area == ()
