"""Augmentation of a batch is a function of the seed, with independent random streams; targets."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from tests.data.patchwork import some_clips
from videopool.data.augment import Augmentation, AugMix, ColorJitter, CustomAugmentation, Erase, Mix, RandAugment
from videopool.data.augment.augmentation import _stream
from videopool.data.label_sets import LabelSets, no_flip_labels
from videopool.data.loading.loader import collate_train
from videopool.errors import InputError
from videopool.types import Batch, Clip, Place, VideoRecord

ALL = Augmentation(
    classes=5,
    color=ColorJitter(0.4, 0.4, 0.4, 0.1),
    rand_augment=RandAugment(2, 9.0, 0.5),
    erase=Erase(0.5),
    mix=Mix(mixup=0.8, cutmix=1.0),
)


def batch(count: int = 8, targets: torch.Tensor | None = None) -> Batch:
    numbers = torch.arange(count)
    return Batch(some_clips(count), numbers % 5, numbers, numbers * 0, numbers < 0, targets=targets)


def test_without_augmentation_the_batch_is_unchanged() -> None:
    one = batch()
    assert Augmentation(classes=5)(one, seed=3) is one


def test_the_seed_decides_everything() -> None:
    one, before = batch(), batch()
    state = torch.get_rng_state()
    first, again, other = ALL(one, 7), ALL(one, 7), ALL(one, 8)
    assert torch.equal(torch.get_rng_state(), state)  # dropout draws from it
    assert torch.equal(one.clips, before.clips)
    assert torch.equal(first.clips, again.clips)
    assert torch.equal(first.targets, again.targets)
    assert not torch.equal(first.clips, other.clips)
    assert not torch.equal(first.targets, other.targets)
    assert first.clips.dtype == torch.uint8
    assert first.clips.shape == one.clips.shape
    assert torch.equal(first.labels, one.labels)


def test_switching_one_off_changes_no_draw_of_another() -> None:
    names = ("color", "rand_augment", "erase", "mix")
    for kept in names:
        alone = dataclasses.replace(ALL, **{name: None for name in names if name != kept})
        without = dataclasses.replace(ALL, **{kept: None})
        assert not torch.equal(alone(batch(), 1).clips, batch().clips)
        assert not torch.equal(without(batch(), 1).clips, ALL(batch(), 1).clips)
    mixed = dataclasses.replace(ALL, color=None, rand_augment=None, erase=None)
    assert torch.equal(mixed(batch(), 1).targets, ALL(batch(), 1).targets)
    erased = dataclasses.replace(ALL, color=None, rand_augment=None, mix=None)
    colored = dataclasses.replace(erased, color=ALL.color)
    boxes = erased(batch(), 1).clips != batch().clips
    assert torch.equal(colored(batch(), 1).clips[boxes], erased(batch(), 1).clips[boxes])


@pytest.mark.parametrize("group", [2, 4])
def test_the_parts_of_a_step_are_augmented_like_the_whole(group: int) -> None:
    everything = dataclasses.replace(ALL, augmix=AugMix(magnitude=8.0))
    step = batch(12)
    whole = everything(step, 7, Place(0, 12, 12, group))
    for size in (4, 12):
        parts = [everything(part, 7, Place(4 * n, size, 12, group)) for n, part in enumerate(step.split(size))]
        assert torch.equal(torch.cat([part.clips for part in parts]), whole.clips)
        assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)


def test_a_function_of_the_user_gets_other_numbers_in_every_part() -> None:
    def noise(clips: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.randint(0, 256, clips.shape, dtype=torch.uint8, generator=generator)

    custom = Augmentation(classes=5, custom=CustomAugmentation(noise))
    first, second = (custom(batch(4), 7, Place(place, 4, 8, 4)).clips for place in (0, 4))
    assert not torch.equal(first, second)
    assert torch.equal(first, custom(batch(4), 7).clips)


def test_streams_share_no_numbers() -> None:
    first = {_stream(name, seed).random() for name in ("color", "rand_augment", "erase", "mix") for seed in (0, 1)}
    assert len(first) == 8


@pytest.mark.skipif(not torch.cuda.is_available(), reason="runs on machines with a GPU that torch can use")
def test_a_gpu_gives_the_results_of_the_cpu() -> None:
    for seed in range(5):
        here, there = ALL(batch(), seed), ALL(batch().to(torch.device("cuda")), seed)
        torch.testing.assert_close(there.targets.cpu(), here.targets, rtol=0, atol=2**-23)
        # A level may be rounded differently, and later operations may multiply the difference.
        different = (there.clips.cpu().int() - here.clips.int()).abs()
        assert (different > 2).float().mean() < 0.01


def test_targets_of_labels_and_of_label_sets_are_mixed() -> None:
    found = ALL(batch(), 5).targets
    assert found.shape == (8, 5)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(1), torch.ones(8), rtol=0, atol=2**-23)
    assert (found.max(1).values < 1).any()
    sets = torch.zeros(8, 5)
    sets[:, :2] = 1
    torch.testing.assert_close(ALL(batch(targets=sets), 5).targets, sets, rtol=0, atol=2**-23)
    assert ALL(dataclasses.replace(batch(), targets=None), 5).targets is not None
    assert dataclasses.replace(ALL, mix=None)(batch(), 5).targets is None


RECORDS = (
    VideoRecord("a", Path("a"), 2, labels=(2, 0)),
    VideoRecord("b", Path("b"), -1, labels=()),
    VideoRecord("c", Path("c"), 3),
)


def test_targets_of_a_list_and_of_a_batch_from_it() -> None:
    targets = LabelSets(RECORDS, classes=4)
    expected = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]])
    assert torch.equal(targets(range(3)), expected)
    assert targets([]).shape == (0, 4)
    frames = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    clips = [Clip(frames, RECORDS[video].label, video, 0) for video in (1, 0, 1)]
    made = collate_train(clips, targets)
    assert isinstance(made, Batch)
    assert torch.equal(made.targets, expected[[1, 0, 1]])
    assert made.labels.tolist() == [-1, 2, -1]
    assert torch.equal(made.to(torch.device("cpu")).targets, made.targets)
    plain = collate_train(clips)
    assert isinstance(plain, Batch)
    assert plain.targets is None
    assert plain.to(torch.device("cpu")).targets is None


def test_targets_of_another_batch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"batch targets must be \[8, classes\], got float32 \[7, 5\]"):
        batch(targets=torch.zeros(7, 5))


def test_classes_that_are_not_mirrored() -> None:
    classes = ("Pulling left", "Pulling right", "Opening")
    assert no_flip_labels(("Pulling right", "Pulling left"), classes) == {0, 1}
    assert no_flip_labels((), classes) == frozenset()
    with pytest.raises(InputError, match=r"'Puling rihgt' is not one of .*\. Did you mean 'Pulling right'\?"):
        no_flip_labels(("Puling rihgt",), classes)
