"""Learning-rate schedules against their formulas; optimizer steps that a non-finite gradient skips."""

import math

import pytest
import torch
from torch import nn

from videopool.engine.optim import build_optimizer, guarded_step, set_learning_rate
from videopool.engine.schedule import build_schedule
from videopool.errors import InputError


def test_cosine_with_warm_up_matches_the_formula() -> None:
    schedule = build_schedule("cosine", epochs=10, warmup_epochs=2, warmup_start=0.1, final=0.01)

    def cosine(progress: float) -> float:
        return 0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2

    assert schedule(0.0) == pytest.approx(0.1)
    assert schedule(0.1) == pytest.approx((0.1 + cosine(0.2)) / 2)
    for progress in (0.2, 0.5, 0.9, 0.999):
        assert schedule(progress) == pytest.approx(cosine(progress))


def test_multistep_changes_at_its_epochs() -> None:
    schedule = build_schedule("multistep", epochs=10, milestones=(4, 8), gamma=0.1)
    values = [schedule(step / 100) for step in range(100)]
    assert values[:40] == [1.0] * 40
    assert values[40:80] == pytest.approx([0.1] * 40)
    assert values[80:] == pytest.approx([0.01] * 20)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"kind": "cosine", "epochs": 2, "warmup_epochs": 2}, "warmup_epochs=2 must be smaller than epochs=2"),
        ({"kind": "multistep", "epochs": 2, "milestones": (2,)}, r"milestones=\[2\] must be smaller than epochs=2"),
        ({"kind": "multistep", "epochs": 4, "milestones": (1.5,)}, "must be whole epochs"),
    ],
)
def test_invalid_schedules(arguments: dict, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        build_schedule(**arguments)


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
