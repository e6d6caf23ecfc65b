"""AugMix compared with its formula, clip by clip and operation by operation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.data.patchwork import some_clips
from videopool.config import load
from videopool.data.augment import OPERATIONS, Augmentation, AugMix
from videopool.data.augment.augmix import OPERATIONS as MILD
from videopool.data.augment.augmix import mix_chains
from videopool.data.augment.rand_augment import RandDraws, apply_operations
from videopool.engine.builders.parts import augmentation
from videopool.errors import InputError
from videopool.types import Batch

FILL = (10.0, 100.0, 200.0)


@pytest.mark.parametrize("at_once", [None, 1, 4])
def test_mixtures_are_the_formula(at_once):
    clips = some_clips(6)
    draws = AugMix(chains=3, depth=3, magnitude=6.0).draw(6, np.random.default_rng(0))
    mixed = mix_chains(clips, draws, FILL, at_once=at_once)
    for clip in range(6):
        expected = float(draws.shares[0, clip]) * clips[clip].double()
        for chain, share in zip(draws.chains, draws.shares[1:, clip], strict=True):
            changed = clips[clip : clip + 1]
            for name, strength in zip(chain.names[:, clip], chain.strengths[:, clip], strict=True):
                changed = apply_operations(changed, RandDraws(np.array([[name]]), np.array([[strength]])), FILL)
            expected += float(share) * changed[0].double()
        assert (mixed[clip].double() - expected).abs().max() <= 0.5 + 1e-3
    assert not torch.equal(mixed, clips)


def test_the_distributions_of_the_draws():
    draws = AugMix(chains=3, depth=3, magnitude=3.0).draw(4000, np.random.default_rng(1))
    np.testing.assert_allclose(draws.shares.sum(0), 1, atol=1e-5)
    assert draws.shares.min() >= 0
    assert draws.shares[0].mean() == pytest.approx(1 / 2, abs=0.02)  # Beta(1, 1)
    assert draws.shares[0].var() == pytest.approx(1 / 12, abs=0.01)
    assert draws.shares[1:].mean(1) == pytest.approx([1 / 6] * 3, abs=0.02)
    for chain in draws.chains:
        lengths = (chain.names != "identity").sum(0)
        assert [(lengths == length).mean() for length in (1, 2, 3)] == pytest.approx([1 / 3] * 3, abs=0.03)
        assert all((chain.names[length:, lengths == length] == "identity").all() for length in (1, 2))
        assert set(chain.names.flat) - {"identity"} == set(MILD)
        degrees = chain.strengths[chain.names == "rotate"]
        assert np.abs(degrees).min() >= 0.1 * 30 / 10 - 1e-4
        assert np.abs(degrees).max() <= 3.0 * 30 / 10 + 1e-4
        assert (degrees > 0).mean() == pytest.approx(1 / 2, abs=0.06)
    assert set(MILD) < set(OPERATIONS)


def test_all_frames_of_a_clip_are_changed_alike():
    clips = some_clips(8)[:, :, :1].expand(-1, -1, 5, -1, -1).contiguous()
    mixed = AugMix(magnitude=8.0, fill=FILL)(clips, np.random.default_rng(2))
    assert torch.equal(mixed, mixed[:, :, :1].expand_as(mixed))


def test_it_is_part_of_the_augmentation_of_a_batch():
    numbers = torch.arange(8)
    batch = Batch(some_clips(8), numbers % 5, numbers, numbers * 0, numbers < 0)
    config = load(None, ["augment.augmix.chains=2", "augment.augmix.alpha=0.5", "clip.mean=[0.1, 0.2, 0.3]"])
    augment = augmentation(config, ["a"] * 5)
    assert augment == Augmentation(classes=5, augmix=AugMix(2, 3, 3.0, 0.5, fill=(25.5, 51.0, 76.5)))
    first, again, other = (augment(batch, seed).clips for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert augmentation(load(None), ["a"] * 5).augmix is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"chains": 0}, "chains=0 must be 1 or more"),
        ({"depth": 0}, "depth=0 must be 1 or more"),
        ({"magnitude": 11.0}, r"magnitude=11\.0 must be from 0\.1 to 10"),
        ({"magnitude": 0.0}, r"magnitude=0\.0 must be"),
        ({"alpha": 0.0}, r"alpha=0\.0 must be above 0"),
    ],
)
def test_values_out_of_range_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        AugMix(**given)
