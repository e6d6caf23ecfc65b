"""Color operations compared with Pillow, on all frames of a clip stacked into one picture; color jitter."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from tests.data.patchwork import some_clips
from videopool.data.augment import ColorJitter, levels
from videopool.data.augment.color import jitter
from videopool.errors import InputError

Picture = Image.Image
STRENGTHS = (0.0, 0.4, 1.0, 1.7)
ENHANCED: dict[str, Callable[[Picture, float], Picture]] = {
    "brightness": lambda picture, strength: ImageEnhance.Brightness(picture).enhance(strength),
    "contrast": lambda picture, strength: ImageEnhance.Contrast(picture).enhance(strength),
    "saturation": lambda picture, strength: ImageEnhance.Color(picture).enhance(strength),
}


def as_picture(clip: torch.Tensor) -> Picture:
    """Return uint8 [3,T,H,W] as one picture, with its frames above each other."""
    return Image.fromarray(clip.permute(1, 2, 3, 0).flatten(0, 1).numpy())


def as_clip(picture: Picture, like: torch.Tensor) -> torch.Tensor:
    rows = torch.from_numpy(np.array(picture))
    return rows.unflatten(0, like.shape[1:3]).permute(3, 0, 1, 2)


def most_different(found: torch.Tensor, expected: torch.Tensor) -> int:
    return int((found.int() - expected.int()).abs().max())


@pytest.mark.parametrize("name", ENHANCED)
def test_a_clip_is_changed_like_one_picture_of_all_its_frames(name: str) -> None:
    clips, strength = some_clips(), torch.tensor(STRENGTHS)
    found = levels.to_uint8(getattr(levels, name)(clips.float(), strength))
    for clip, changed, value in zip(clips, found, STRENGTHS, strict=True):
        expected = as_clip(ENHANCED[name](as_picture(clip), value), clip)
        assert most_different(changed, expected) <= 1  # Pillow truncates, and rounds the mean
    assert torch.equal(found[2], clips[2])  # strength 1


def test_autocontrast_and_equalize() -> None:
    clips = some_clips()
    clips[3, 1] = 77  # a channel of one level stays
    for name, exact in (("autocontrast", 1), ("equalize", 0)):
        found = levels.to_uint8(getattr(levels, name)(clips.float()))
        for clip, changed in zip(clips, found, strict=True):
            expected = as_clip(getattr(ImageOps, name)(as_picture(clip)), clip)
            assert most_different(changed, expected) <= exact
        assert (found[3, 1] == 77).all()
        assert not torch.equal(found[0], clips[0])


def test_equalize_of_too_few_pixels_changes_nothing() -> None:
    clips = some_clips(frames=1, height=4, width=8)  # 32 pixels, less than 255 beside those of the highest level
    assert torch.equal(levels.to_uint8(levels.equalize(clips.float())), clips)


def test_solarize_and_posterize_are_those_of_pillow() -> None:
    clips = some_clips()
    thresholds, bits = (0, 100, 255, 256), (1, 4, 7, 8)
    solarized = levels.to_uint8(levels.solarize(clips.float(), torch.tensor(thresholds).float()))
    posterized = levels.to_uint8(levels.posterize(clips.float(), torch.tensor(bits).float()))
    for number, clip in enumerate(clips):
        picture = as_picture(clip)
        assert torch.equal(solarized[number], as_clip(ImageOps.solarize(picture, thresholds[number]), clip))
        assert torch.equal(posterized[number], as_clip(ImageOps.posterize(picture, bits[number]), clip))


def test_sharpness_is_that_of_each_frame() -> None:
    clips = some_clips()
    found = levels.to_uint8(levels.sharpness(clips.float(), torch.tensor(STRENGTHS)))
    for clip, changed, value in zip(clips, found, STRENGTHS, strict=True):
        for time in range(clip.shape[1]):
            picture = ImageEnhance.Sharpness(as_picture(clip[:, time : time + 1])).enhance(value)
            assert most_different(changed[:, time : time + 1], as_clip(picture, clip[:, time : time + 1])) <= 1
    assert torch.equal(found[2], clips[2])
    thin = some_clips()[..., :2]
    assert torch.equal(levels.to_uint8(levels.sharpness(thin.float(), torch.tensor(STRENGTHS))), thin)  # border only


def test_hue_turns_in_the_hsv_cone() -> None:
    clips = some_clips(frames=2, height=8, width=8)
    clips[0, :, 0, 0] = torch.arange(8, dtype=torch.uint8)  # grays
    turns = (0.0, 0.3, -0.45, 0.5)
    found = levels.hue(clips.float(), torch.tensor(turns))
    for number, turn in enumerate(turns):
        for place in np.ndindex(2, 8, 8):
            hue, saturation, value = colorsys.rgb_to_hsv(
                *(clips[(number, slice(None), *place)].double() / 255).tolist()
            )
            expected = torch.tensor(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)) * 255
            torch.testing.assert_close(found[(number, slice(None), *place)], expected, rtol=0, atol=1e-3)
    assert torch.equal(levels.to_uint8(levels.hue(clips.float(), torch.ones(4))), clips)  # a whole turn


def test_the_order_of_the_changes_matters_and_is_random() -> None:
    clips = some_clips(count=2)
    half, double = (np.full(2, value, dtype=np.float32) for value in (0.5, 2.0))
    one = jitter(clips, (("brightness", double), ("contrast", half)))
    other = jitter(clips, (("contrast", half), ("brightness", double)))
    assert most_different(one, other) > 10
    draw = ColorJitter(brightness=0.2, contrast=0.2, hue=0.1).draw
    orders = {tuple(name for name, _ in draw(1, np.random.default_rng(seed))) for seed in range(200)}
    assert len(orders) == 6  # of the three that are on
    assert all(set(order) == {"brightness", "contrast", "hue"} for order in orders)


def test_jitter_draws_from_its_ranges_for_each_clip() -> None:
    drawn = dict(
        ColorJitter(brightness=0.4, contrast=1.5, saturation=0.1, hue=0.2).draw(5000, np.random.default_rng(0))
    )
    for name, (low, high) in {
        "brightness": (0.6, 1.4), "contrast": (0.0, 2.5), "saturation": (0.9, 1.1), "hue": (-0.2, 0.2),
    }.items():  # fmt: skip
        span = high - low
        assert low <= drawn[name].min() <= low + 0.01 * span
        assert high - 0.01 * span <= drawn[name].max() <= high
        assert abs(drawn[name].mean() - (low + high) / 2) < 0.03 * span


def test_the_colors_of_a_clip_do_not_depend_on_its_batch() -> None:
    clips = some_clips()
    step = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    before, draws = clips.clone(), step.draw(4, np.random.default_rng(1))
    together = step(clips, np.random.default_rng(1))
    assert torch.equal(clips, before)
    assert together.dtype == torch.uint8
    for number in range(4):
        alone = tuple((name, values[number : number + 1]) for name, values in draws)
        assert torch.equal(jitter(clips[number : number + 1], alone)[0], together[number])
    assert most_different(jitter(clips, draws, at_once=3), together) <= 1  # sums may be rounded differently


@pytest.mark.parametrize("wrong", [{"brightness": -0.1}, {"contrast": float("inf")}, {"hue": 0.6}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(wrong))}=.* must be"):
        ColorJitter(**wrong)
