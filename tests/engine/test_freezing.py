"""Frozen parameters and batch normalization do not change in training."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from videopool import models
from videopool.engine.optimization.optimizers import build_optimizer
from videopool.engine.step.freezing import freeze
from videopool.errors import InputError


def network() -> nn.Module:
    torch.manual_seed(0)
    return models.build("c3d", classes=3, frames=4, crop=32, width=4, depth=3)


def train(model: nn.Module, steps: int = 3) -> set[str]:
    """Train and return the names of the tensors that changed."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = build_optimizer(model, "sgd", lr=0.1, weight_decay=0.1)
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        model(torch.randn(2, 3, 4, 32, 32)).square().sum().backward()
        optimizer.step()
        model.eval()
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_frozen_modules_do_not_change_and_all_others_do() -> None:
    model = network()
    frozen = freeze(model, ["blocks.0", "blocks.1"])
    assert frozen == tuple(name for name, _ in model.named_parameters() if name.startswith(("blocks.0.", "blocks.1.")))
    names = [name for name in model.state_dict() if name.startswith(("blocks.2.", "blocks.3."))]
    assert train(model) == set(names)


def test_patterns_of_parameters() -> None:
    model = network()
    assert freeze(model, ["*conv0.weight", "blocks.3.proj.bias"]) == (
        "blocks.0.conv0.weight",
        "blocks.1.conv0.weight",
        "blocks.2.conv0.weight",
        "blocks.3.proj.bias",
    )
    assert not {name for name in train(model) if "conv0" in name or name.endswith("proj.bias")}


def statistics(changed: set[str]) -> set[str]:
    return {name for name in changed if "running" in name}


def test_norms_none_keeps_updating_the_statistics_of_frozen_modules() -> None:
    model = network()
    freeze(model, ["blocks.0"], norms="none")
    changed = train(model)
    assert "blocks.0.norm0.running_mean" in changed
    assert "blocks.0.norm0.weight" not in changed


def test_norms_all_freezes_statistics_and_parameters_of_every_one() -> None:
    model = network()
    frozen = freeze(model, [], norms="all")
    assert frozen == tuple(name for name, _ in model.named_parameters() if "norm" in name)
    assert not {name for name in train(model) if "norm" in name}


def test_a_norm_whose_parameters_are_all_frozen_is_frozen() -> None:
    model = network()
    freeze(model, ["blocks.1.norm0.weight", "blocks.1.norm0.bias", "blocks.2.norm0.weight"])
    assert statistics(train(model)) == {
        f"blocks.{block}.norm0.running_{kind}" for block in (0, 2) for kind in ("mean", "var")
    }


def test_a_copy_stays_frozen_and_is_independent() -> None:
    model = network()
    freeze(model, ["blocks.0"])
    other = copy.deepcopy(model)
    other.train()
    assert not other.blocks[0].norm0.training
    assert other.blocks[1].norm0.training
    assert not statistics(train(other)) & {"blocks.0.norm0.running_mean"}


def test_nothing_is_frozen_by_default() -> None:
    model = network()
    assert freeze(model, []) == ()
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.train()
    assert all(module.training for module in model.modules())


def test_patterns_that_cannot_be_used() -> None:
    with pytest.raises(InputError, match=r"'block.0' matches no name in the model. Did you mean 'blocks.0'"):
        freeze(network(), ["block.0"])
    with pytest.raises(InputError, match=r"freeze=\['\*'\] leaves no parameter to train"):
        freeze(network(), ["*"])
