"""A user's function as an augmentation: what it is given, what it may return, and that a seed decides what it draws."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from tests.data.patchwork import some_clips
from tests.data.test_augmentation import ALL, batch
from videopool.config import load
from videopool.data.augment import Augmentation, CustomAugmentation
from videopool.engine.builders.parts import augmentation
from videopool.errors import InputError


def brighten(clips: torch.Tensor, generator: torch.Generator, most: int = 30) -> torch.Tensor:
    """Add the same random number of levels to all pixels of a clip."""
    levels = torch.randint(0, most, (len(clips), 1, 1, 1, 1), generator=generator)
    return (clips.int() + levels.to(clips.device)).clamp(0, 255).to(torch.uint8)


def with_function(function: Any, **arguments: Any) -> Augmentation:
    return Augmentation(classes=5, custom=CustomAugmentation(function, arguments))


def test_the_seed_decides_what_the_function_draws() -> None:
    augment, state = with_function(brighten), torch.get_rng_state()
    first, again, other = (augment(batch(), seed).clips for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, batch().clips)
    assert torch.equal(torch.get_rng_state(), state)


def test_its_numbers_are_not_those_of_dropout() -> None:
    drawn = []

    def record(clips: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        assert generator.device.type == "cpu"
        drawn.append(torch.rand(4, generator=generator))
        return clips

    with_function(record)(batch(), 7)
    torch.manual_seed(7)  # as a training step does
    assert not torch.equal(drawn[0], torch.rand(4))


def test_other_augmentations_draw_the_same_with_and_without_it() -> None:
    with_it = dataclasses.replace(ALL, custom=CustomAugmentation(lambda clips, generator: clips.clone()))
    for seed in range(2):
        found, expected = with_it(batch(), seed), ALL(batch(), seed)
        assert torch.equal(found.clips, expected.clips)
        assert torch.equal(found.targets, expected.targets)


def test_it_runs_after_rand_augment_and_before_erasing() -> None:
    seen = []

    def black(clips: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append(clips.clone())
        return clips.zero_()

    augment = dataclasses.replace(ALL, custom=CustomAugmentation(black), mix=None)
    result = augment(batch(), 3).clips
    assert torch.equal(seen[0], dataclasses.replace(ALL, erase=None, mix=None)(batch(), 3).clips)
    assert result.any()  # the boxes of erasing
    assert not dataclasses.replace(augment, erase=None)(batch(), 3).clips.any()


@pytest.mark.parametrize(
    ("function", "returned"),
    [
        (lambda clips, generator: None, "nothing"),
        (lambda clips, generator: clips.numpy(), "a ndarray"),
        (lambda clips, generator: clips.float(), r"float32 \[8, 3, 4, 20, 28\] on cpu"),
        (lambda clips, generator: clips[:4], r"uint8 \[4, 3, 4, 20, 28\] on cpu"),
        (lambda clips, generator: clips.to("meta"), r"uint8 \[8, 3, 4, 20, 28\] on meta"),
    ],
)
def test_other_results_are_refused(function: Any, returned: str) -> None:
    one = dataclasses.replace(batch(), clips=some_clips(8, frames=4, height=20, width=28))
    augment = Augmentation(classes=5, custom=CustomAugmentation(function, name="mine.change"))
    with pytest.raises(
        InputError, match=f"augmentation mine.change returned {returned}. It must return uint8"
    ) as error:
        augment(one, 0)
    assert error.value.setting == "augment_target"


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (lambda clips: clips, {}, "too many positional arguments.*signature is \\(clips\\)"),
        (brighten, {"least": 3}, "augmentation brighten cannot .* unexpected keyword argument 'least'"),
    ],
)
def test_functions_that_take_other_arguments_are_refused(function: Any, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        CustomAugmentation(function, arguments)


def test_it_is_found_by_its_name() -> None:
    target = f"{__name__}.brighten"
    found = augmentation(load(None, [f"augment.target={target}", "augment.arguments={most: 5}"]), ["a"] * 5)
    assert found == Augmentation(classes=5, custom=CustomAugmentation(brighten, {"most": 5}, name=target))
    assert augmentation(load(None), ["a"] * 5).custom is None
    with pytest.raises(InputError, match="cannot import no\\.such") as error:
        augmentation(load(None, ["augment.target=no.such.function"]), ["a"] * 5)
    assert error.value.setting == "augment_target"
