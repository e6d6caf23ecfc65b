"""LARS and LAMB against their formulas in float64, and steps that change nothing."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import same_tensors
from videopool.engine.optimization.layerwise import LAMB, LARS
from videopool.engine.optimization.optimizers import guarded_step

Optimizer = Callable[..., torch.optim.Optimizer]
SHAPES = [(4, 3), (4,), (2, 4)]
MAKERS: list[Optimizer] = [LARS, LAMB]


def values(seed: int, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]


def train(make: Optimizer, steps: int, dtype: torch.dtype, **arguments: Any) -> list[torch.Tensor]:
    params = [nn.Parameter(value) for value in values(0, dtype)]
    optimizer = make(
        [{"params": params[::2]}, {"params": params[1:2], "adapt": False, "weight_decay": 0.0}], 0.1, **arguments
    )
    for step in range(steps):
        for param, grad in zip(params, values(step + 1, dtype), strict=True):
            param.grad = grad
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (step + 1)
        optimizer.step()
    return [param.detach() for param in params]


def lars_formula(weight: torch.Tensor, grads: list[torch.Tensor], *, decay: float, adapt: bool) -> torch.Tensor:
    velocity = torch.zeros_like(weight)
    for step, grad in enumerate(grads):
        trust = 0.01 * weight.norm() / (grad.norm() + decay * weight.norm()) if adapt else 1.0
        velocity = 0.8 * velocity + 0.1 / (step + 1) * trust * (grad + decay * weight)
        weight = weight - velocity
    return weight


def lamb_formula(weight: torch.Tensor, grads: list[torch.Tensor], *, decay: float, adapt: bool) -> torch.Tensor:
    first = second = torch.zeros_like(weight)
    for step, grad in enumerate(grads):
        first = 0.8 * first + 0.2 * grad
        second = 0.95 * second + 0.05 * grad**2
        update = first / (1 - 0.8 ** (step + 1)) / ((second / (1 - 0.95 ** (step + 1))).sqrt() + 1e-6) + decay * weight
        trust = weight.norm() / update.norm() if adapt else 1.0
        weight = weight - 0.1 / (step + 1) * trust * update
    return weight


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 2**-45), (torch.float32, 2**-18)])
@pytest.mark.parametrize(
    ("make", "arguments", "formula"),
    [
        (LARS, {"momentum": 0.8, "eta": 0.01}, lars_formula),
        (LAMB, {"betas": (0.8, 0.95)}, lamb_formula),
    ],
)
def test_steps_match_the_formula(
    make: Optimizer, arguments: dict, formula: Callable, dtype: torch.dtype, tolerance: float
) -> None:
    found = train(make, 5, dtype, weight_decay=0.3, **arguments)
    every = [values(step) for step in range(6)]
    for index, adapt in enumerate((True, False, True)):
        grads = [grads[index] for grads in every[1:]]
        expected = formula(every[0][index], grads, decay=0.3 if adapt else 0.0, adapt=adapt)
        torch.testing.assert_close(found[index].double(), expected, rtol=tolerance, atol=tolerance)


def test_lamb_without_adaptation_is_adam_of_torch() -> None:
    params, others = ([nn.Parameter(value) for value in values(0)] for _ in range(2))
    ours = LAMB(params, 0.01, eps=1e-8, adapt=False)
    reference = torch.optim.Adam(others, lr=0.01)
    for step in range(4):
        for param, other, grad in zip(params, others, values(step + 1), strict=True):
            param.grad, other.grad = grad, grad.clone()
        ours.step()
        reference.step()
    torch.testing.assert_close(params, others, rtol=2**-45, atol=2**-45)


def test_lars_without_adaptation_is_sgd_of_torch() -> None:
    """torch multiplies by the learning rate after the momentum, which is the same while the rate is constant."""
    params, others = ([nn.Parameter(value) for value in values(0)] for _ in range(2))
    ours = LARS(params, 0.01, weight_decay=0.1, adapt=False)
    reference = torch.optim.SGD(others, lr=0.01, momentum=0.9, weight_decay=0.1)
    for step in range(4):
        for param, other, grad in zip(params, others, values(step + 1), strict=True):
            param.grad, other.grad = grad, grad.clone()
        ours.step()
        reference.step()
    torch.testing.assert_close(params, others, rtol=2**-45, atol=2**-45)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_broken_step_changes_neither_weights_nor_state(make: Optimizer, bad: float) -> None:
    param = nn.Parameter(torch.ones(3, 2))
    optimizer = make([param], 0.1, weight_decay=0.1)
    for step, broken in enumerate((1.0, 0.0, 1.0, 0.0)):
        before = param.detach().clone()
        state = {name: value.clone() for name, value in optimizer.state[param].items()}
        param.grad = torch.full((3, 2), bad if broken else 0.5)
        guarded_step(optimizer, torch.tensor(broken))
        assert torch.isfinite(param).all()
        assert torch.equal(param, before) == bool(broken)
        if step and broken:
            assert same_tensors(optimizer.state[param], state)


@pytest.mark.parametrize("make", MAKERS)
def test_skipped_steps_leave_no_trace(make: Optimizer) -> None:
    ends = []
    for pattern in ((0.0, 0.0), (1.0, 0.0, 1.0, 0.0)):
        param, grads = nn.Parameter(values(0)[0].float()), iter([values(1)[0].float(), values(2)[0].float()])
        optimizer = make([param], 0.1)
        for broken in pattern:
            param.grad = torch.full((4, 3), math.nan) if broken else next(grads)
            guarded_step(optimizer, torch.tensor(broken))
        ends.append(param.detach())
    assert torch.equal(*ends)


@pytest.mark.parametrize("make", MAKERS)
def test_gradient_scaling_of_torch(make: Optimizer) -> None:
    ends = []
    for enabled in (False, True):
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=enabled)
        param = nn.Parameter(values(0)[0].float())
        optimizer = make([param], 0.1)
        for target in values(1, torch.float32)[0], values(2, torch.float32)[0]:
            optimizer.zero_grad()
            scaler.scale(((param - target) ** 2).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        ends.append(param.detach())
    assert torch.equal(*ends)  # a power of two changes no digit


@pytest.mark.parametrize("make", MAKERS)
def test_state_is_restored(make: Optimizer) -> None:
    straight = nn.Parameter(torch.ones(3, 2))
    optimizer = make([straight], 0.1)
    for step in range(4):
        if step == 2:
            resumed = nn.Parameter(straight.detach().clone())
            other = make([resumed], 0.1)
            other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        straight.grad = torch.full((3, 2), 0.5 + step)
        optimizer.step()
        if step >= 2:
            resumed.grad = torch.full((3, 2), 0.5 + step)
            other.step()
    assert torch.equal(straight, resumed)


@pytest.mark.parametrize("make", MAKERS)
def test_zero_weights_and_zero_gradients_have_the_trust_ratio_one(make: Optimizer) -> None:
    param = nn.Parameter(torch.zeros(3, 2))
    optimizer = make([param], 0.1)
    param.grad = torch.zeros(3, 2)
    optimizer.step()
    assert torch.equal(param, torch.zeros(3, 2))
    param.grad = torch.ones(3, 2)
    optimizer.step()
    assert torch.isfinite(param).all()
    assert param.abs().min() > 0.01  # 0.1 times an update of about 1, not 0
