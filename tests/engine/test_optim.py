"""Optimizers, parameter groups, and steps that a non-finite gradient skips."""

import math

import pytest
import torch
from torch import nn

from videopool.engine.optim import build_optimizer, guarded_step, set_learning_rate


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_broken_step_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = build_optimizer(model, name, lr=0.1, weight_decay=0.1)
    for broken in (0.0, 1.0, 0.0):
        optimizer.zero_grad()
        model(torch.ones(1, 3)).sum().backward()
        if broken:
            model.weight.grad.fill_(math.nan)
        before = [p.detach().clone() for p in model.parameters()]
        guarded_step(optimizer, torch.tensor(broken))
        same = all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
        assert same == bool(broken)
        assert all(torch.isfinite(p).all() for p in model.parameters())


def test_biases_and_normalization_have_no_weight_decay() -> None:
    model = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2))
    optimizer = build_optimizer(model, "sgd", lr=0.1, weight_decay=0.5)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(model[0].weight)}
    set_learning_rate(optimizer, 0.3)
    assert {group["lr"] for group in optimizer.param_groups} == {0.3}
