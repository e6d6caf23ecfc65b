"""Optimizers, parameter groups, and steps that a non-finite gradient skips."""

import math

import pytest
import torch
from torch import nn

from videopool.engine.optimization.optimizers import (
    build_custom_optimizer,
    build_optimizer,
    clip_gradients,
    guarded_step,
    set_learning_rate,
)
from videopool.engine.optimization.parameter_groups import parameter_groups
from videopool.errors import InputError


@pytest.mark.parametrize("name", ["sgd", "adamw", "lars", "lamb"])
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


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2), nn.Flatten(), nn.Linear(2, 3))


def with_gradients(scale: float = 1.0) -> nn.Module:
    model = network()
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = scale * torch.linspace(-1, number + 1, parameter.numel()).reshape(parameter.shape)
    return model


def norm_of(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten().double() for p in model.parameters()]).norm()


def test_the_rate_of_a_group_is_its_factor_times_the_common_one() -> None:
    optimizer = build_optimizer(network(), "adamw", lr=0.4, weight_decay=0.5, layer_decay=0.5)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {"0/decay": 0.2, "0/no_decay": 0.2, "3/decay": 0.4, "3/no_decay": 0.4}
    set_learning_rate(optimizer, 0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05, 0.1, 0.1]


def test_lars_and_lamb_adapt_only_groups_with_weight_decay() -> None:
    for name in ("lars", "lamb"):
        optimizer = build_optimizer(network(), name, lr=0.1, weight_decay=0.5)
        assert [(group["adapt"], group["weight_decay"]) for group in optimizer.param_groups] == [
            (True, 0.5),
            (False, 0.0),
        ]


@pytest.mark.parametrize("scale", [0.01, 10.0])
def test_clip_by_norm(scale: float) -> None:
    model, before = with_gradients(scale), norm_of(with_gradients(scale))
    found = clip_gradients(model, clip_norm=1.0)
    torch.testing.assert_close(found.double(), before, rtol=2**-20, atol=0)
    torch.testing.assert_close(norm_of(model), before.clamp_max(1.0), rtol=2**-18, atol=0)


def test_clip_by_value_limits_every_number_and_returns_the_norm_from_before() -> None:
    model, plain = with_gradients(), with_gradients()
    found = clip_gradients(model, clip_value=0.7)
    torch.testing.assert_close(found.double(), norm_of(plain), rtol=2**-20, atol=0)
    for parameter, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(parameter.grad, other.grad.clamp(-0.7, 0.7))


def test_without_clipping_the_gradient_is_unchanged_and_its_norm_is_returned() -> None:
    model = with_gradients()
    torch.testing.assert_close(clip_gradients(model).double(), norm_of(model), rtol=2**-20, atol=0)
    assert torch.equal(norm_of(model), norm_of(with_gradients()))


@pytest.mark.parametrize("clip", [{"clip_value": 1.0}, {"clip_norm": 1.0}, {}])
def test_an_infinite_gradient_is_seen_in_the_norm(clip: dict) -> None:
    model = with_gradients()
    next(model.parameters()).grad[0] = math.inf
    assert not torch.isfinite(clip_gradients(model, **clip))


def custom(factory: object, model: nn.Module, weight_decay: float = 0.1, **arguments: object) -> torch.optim.Optimizer:
    groups = parameter_groups(model, weight_decay=weight_decay, layer_decay=0.5)
    return build_custom_optimizer(groups, factory, lr=0.1, arguments=arguments, name="mine")


def test_an_optimizer_of_torch_has_groups_factors_and_arguments() -> None:
    model = network()
    optimizer = custom(torch.optim.RAdam, model, betas=(0.8, 0.9))
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0, 0.1, 0.0]
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05, 0.1, 0.1]
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.9)


def test_a_broken_step_of_another_optimizer_is_left_out() -> None:
    model = with_gradients(math.nan)
    optimizer = custom(torch.optim.RAdam, model)
    before = [p.detach().clone() for p in model.parameters()]
    guarded_step(optimizer, torch.tensor(1.0))
    assert not optimizer.state
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    for parameter, other in zip(model.parameters(), with_gradients().parameters(), strict=True):
        parameter.grad = other.grad
    guarded_step(optimizer, torch.tensor(0.0))
    assert not any(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert not hasattr(optimizer, "found_inf")


@pytest.mark.parametrize(
    ("factory", "arguments", "expected"),
    [
        (torch.optim.RAdam, {"betta": 1}, r"mine cannot be built with lr=0.1, betta=1: TypeError: .*betta"),
        (torch.optim.RAdam, {"betas": (2.0, 0.9)}, "ValueError: Invalid beta parameter at index 0: 2.0"),
        (torch.optim.LBFGS, {}, "mine cannot be built with lr=0.1: ValueError: LBFGS doesn't support per-parameter"),
        (lambda groups, lr: groups, {}, "mine returned a list. It must return a torch.optim.Optimizer"),
        (torch.optim.Rprop, {}, "mine has no weight decay. Set weight_decay to 0"),
        (
            lambda groups, lr: torch.optim.LBFGS(groups[0]["params"]),
            {},
            "mine cannot be used: its step needs a closure",
        ),
    ],
)
def test_custom_optimizers_that_cannot_be_used(factory: object, arguments: dict, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        custom(factory, network(), **arguments)


def test_an_optimizer_without_weight_decay_is_used_without_it() -> None:
    assert isinstance(custom(torch.optim.Rprop, network(), weight_decay=0.0), torch.optim.Rprop)
