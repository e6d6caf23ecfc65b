"""Erased boxes, and mixed clips with their targets, compared with areas in pixels and sums in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.data.patchwork import some_clips
from videopool.data.augment import Erase, Mix
from videopool.data.augment.erase import AREA, RATIO
from videopool.data.augment.mix import mix_clips, mix_targets
from videopool.errors import InputError

SHAPE = torch.Size([4000, 1, 1, 40, 60])


def test_boxes_are_in_the_frame_with_the_areas_and_shapes_of_the_paper() -> None:
    boxes = Erase(0.25).draw(SHAPE, np.random.default_rng(0))
    assert abs(len(boxes) / 4000 - 0.25) < 0.03
    sizes = np.array([box.picture.shape[1:] for box in boxes])
    places = np.array([(box.top, box.left) for box in boxes])
    assert (places >= 0).all()
    assert (places + sizes <= [40, 60]).all()
    assert {0, 40} <= {*places[:, 0], *(places + sizes)[:, 0]}  # up to the borders
    area, ratio = sizes.prod(1) / 2400, sizes[:, 0] / sizes[:, 1]
    assert AREA[0] * 0.85 < area.min() < 1.3 * AREA[0]  # sides are whole pixels
    assert AREA[1] * 0.95 < area.max() < AREA[1] * 1.05
    assert RATIO[0] * 0.8 < ratio.min() < 1.2 * RATIO[0]
    assert RATIO[1] * 0.7 < ratio.max() < 1.25 * RATIO[1]
    assert len({box.clip for box in boxes}) == len(boxes)


def test_a_box_is_the_same_in_all_frames_and_other_pixels_stay() -> None:
    clips = some_clips(count=8, frames=5, height=32, width=32)
    before, step = clips.clone(), Erase(0.5)
    boxes = step.draw(clips.shape, np.random.default_rng(3))
    found = step(clips, np.random.default_rng(3))
    assert torch.equal(clips, before)
    assert 0 < len(boxes) < 8
    for box in boxes:
        rows, columns = box.picture.shape[1:]
        inside = (..., slice(box.top, box.top + rows), slice(box.left, box.left + columns))
        for time in range(5):
            assert torch.equal(found[box.clip][:, time][inside], torch.from_numpy(box.picture))
        found[box.clip][inside] = clips[box.clip][inside]
        assert box.picture.std() > 50  # of even levels 74
    assert torch.equal(found, clips)


def test_chances_of_erasing() -> None:
    clips = some_clips()
    assert torch.equal(Erase(0.0)(clips, np.random.default_rng(0)), clips)
    changed = Erase(1.0)(clips, np.random.default_rng(0)) != clips
    assert changed.flatten(1).any(1).all()
    with pytest.raises(InputError, match=r"probability=1\.5 must be from 0 to 1"):
        Erase(1.5)


def marked(count: int, height: int = 30, width: int = 44) -> torch.Tensor:
    """Return clips in which every level of clip i is i."""
    return torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1, 1).expand(-1, 3, 2, height, width).contiguous()


def test_the_weight_of_cutmix_is_the_area_counted_in_pixels() -> None:
    clips = marked(64)
    draws = Mix(cutmix=1.0).draw(clips.shape, np.random.default_rng(0))
    assert draws.cut.all()
    found = mix_clips(clips, draws)
    for number, partner in enumerate(draws.partner.tolist()):
        own = (found[number] == number).sum().item()
        if partner != number:
            assert own + (found[number] == partner).sum().item() == found[number].numel()
            assert draws.own[number] == np.float32(own / found[number].numel())
        assert (found[number] == found[number][:, :1]).all()  # the same box in all frames
    assert sorted(draws.partner) == list(range(64))


def test_boxes_of_cutmix_have_the_drawn_area_and_lie_anywhere() -> None:
    shape = torch.Size([6000, 3, 1, 100, 200])
    draws = Mix(cutmix=1.0).draw(shape, np.random.default_rng(1))
    top, left, bottom, right = draws.boxes.T
    inside = (top > 0) & (left > 0) & (bottom < 100) & (right < 200) & (bottom - top > 20)
    shapes = (right - left)[inside] / (bottom - top)[inside]
    assert np.abs(shapes - 2).max() < 0.2  # that of the frame
    assert abs(((top + bottom)[inside] / 200).mean() - 0.5) < 0.02
    assert top.min() == left.min() == 0
    assert (bottom.max(), right.max()) == (100, 200)
    # Areas are uniform for alpha 1. Of a side s = sqrt(area) with a uniform center, s - s^2 / 4 is inside on average.
    s = np.sqrt(np.linspace(0, 1, 100_001))
    assert abs((1 - draws.own).mean() - ((s - s**2 / 4) ** 2).mean()) < 0.01


def test_mixup_against_float64() -> None:
    clips = some_clips(count=12)
    before, mix = clips.clone(), Mix(mixup=0.8)
    draws = mix.draw(clips.shape, np.random.default_rng(2))
    assert not draws.cut.any()
    own = torch.from_numpy(draws.own).double().view(-1, 1, 1, 1, 1)
    expected = own * clips.double() + (1 - own) * clips[draws.partner].double()
    found = mix_clips(clips, draws)
    assert found.dtype == torch.uint8
    # Half a level of rounding, and the error of float32 in a sum of two products of up to 255.
    assert (found.double() - expected).abs().max() <= 0.5 + 3 * 255 * 2**-24
    assert torch.equal(clips, before)
    for at_once in (1, 5, 12):
        assert torch.equal(mix_clips(clips, draws, at_once=at_once), found)


def test_weights_are_those_of_the_beta_distribution() -> None:
    for alpha in (0.2, 1.0, 4.0):
        own = Mix(mixup=alpha).draw(SHAPE, np.random.default_rng(0)).own
        assert abs(own.mean() - 0.5) < 0.03
        assert own.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_targets_are_mixed_as_clips_are() -> None:
    labels = torch.tensor([0, 0, 1, 2, 2, 3])
    targets = torch.nn.functional.one_hot(labels, 4).float()
    draws = Mix(mixup=1.0, cutmix=1.0).draw(torch.Size([6, 3, 2, 16, 16]), np.random.default_rng(0))
    found = mix_targets(targets, draws)
    torch.testing.assert_close(found.sum(1), torch.ones(6), rtol=0, atol=2**-23)
    for number, partner in enumerate(draws.partner.tolist()):
        expected = torch.zeros(4, dtype=torch.float64)
        expected[labels[number]] += float(draws.own[number])
        expected[labels[partner]] += 1 - float(draws.own[number])
        torch.testing.assert_close(found[number].double(), expected, rtol=0, atol=2**-23)


def test_switch_is_the_chance_of_cutmix() -> None:
    for switch in (0.0, 0.3, 1.0):
        cut = Mix(mixup=0.2, cutmix=1.0, switch=switch).draw(SHAPE, np.random.default_rng(0)).cut
        assert abs(cut.mean() - switch) < 0.03
    both = Mix(mixup=1.0, cutmix=1.0).draw(torch.Size([64, 3, 2, 30, 44]), np.random.default_rng(0))
    found = mix_clips(marked(64), both)
    several = torch.tensor([len(clip.unique()) for clip in found])
    assert set(several[~torch.from_numpy(both.cut)].tolist()) == {1}  # a sum of two even clips is even
    assert 2 in several[torch.from_numpy(both.cut)]


@pytest.mark.parametrize("wrong", [{}, {"mixup": -1.0}, {"cutmix": math.inf}, {"mixup": 1.0, "switch": 1.2}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Mix(**wrong)
