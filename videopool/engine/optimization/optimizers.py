"""Optimizers, clipping of gradients, and a step that changes nothing after a non-finite gradient."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from videopool.engine.cluster.sharding import is_sharded, whole
from videopool.engine.optimization.layerwise import LAMB, LARS
from videopool.engine.optimization.parameter_groups import Group, parameter_groups
from videopool.errors import InputError


def build_optimizer(
    model: nn.Module,
    name: Literal["sgd", "adamw", "lars", "lamb"],
    *,
    lr: float,
    weight_decay: float,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
    trust: float = 0.001,
    no_decay: Sequence[str] = (),
    layer_decay: float = 1.0,
    decay_all: bool = False,
) -> torch.optim.Optimizer:
    """Return an optimizer of the trainable parameters of ``model``, in the groups of ``parameter_groups``.

    Args:
        model: the network.
        name: fused SGD with Nesterov momentum, fused AdamW (Loshchilov & Hutter 2019), ``LARS`` or ``LAMB``.
        lr: learning rate.
        weight_decay, no_decay, layer_decay, decay_all: see ``parameter_groups``.
        momentum: of sgd and lars.
        betas: of adamw and lamb.
        trust: the trust coefficient of lars.
    """
    groups = parameter_groups(
        model, weight_decay=weight_decay, no_decay=no_decay, layer_decay=layer_decay, decay_all=decay_all
    )
    optimizer: torch.optim.Optimizer
    if name == "sgd":
        fused = not is_sharded(model)  # torch 2.13 has no fused SGD for divided tensors
        optimizer = torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=fused)
    elif name == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)
    elif name == "lars":
        optimizer = LARS(groups, lr, momentum=momentum, eta=trust)
    else:
        optimizer = LAMB(groups, lr, betas=betas)
    set_learning_rate(optimizer, lr)
    return optimizer


def build_custom_optimizer(
    groups: Sequence[Group],
    factory: Callable[..., Any],
    *,
    lr: float,
    arguments: Mapping[str, Any],
    name: str,
) -> torch.optim.Optimizer:
    """Return ``factory(groups, lr=lr, **arguments)``, an optimizer of torch or of another package.

    Args:
        groups: see ``parameter_groups``.
        factory: a class or function that returns a ``torch.optim.Optimizer``.
        lr: learning rate.
        arguments: keyword arguments of ``factory``, such as ``{"betas": (0.9, 0.99)}``.
        name: what errors call ``factory``.

    Raises:
        InputError: if ``factory`` does not take these arguments or returns something else, if ``step`` of the optimizer
            needs a closure, or if there is a weight decay and the optimizer has none.
    """
    try:
        optimizer = factory([dict(group) for group in groups], lr=lr, **arguments)
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        given = "".join(f", {key}={value!r}" for key, value in arguments.items())
        raise InputError(
            f"{name} cannot be built with lr={lr:g}{given}: {type(error).__name__}: {error}", setting="optim_arguments"
        ) from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InputError(
            f"{name} returned a {type(optimizer).__name__}. It must return a torch.optim.Optimizer.",
            setting="optim_target",
        )
    _check_custom(optimizer, name)
    set_learning_rate(optimizer, lr)
    return optimizer


def _check_custom(optimizer: torch.optim.Optimizer, name: str) -> None:
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise InputError(
            f"{name} cannot be used: its step needs a closure that repeats the forward pass", setting="optim_target"
        )
    decayed = any(group.get("weight_decay") for group in optimizer.param_groups)
    if decayed and "weight_decay" not in optimizer.defaults:
        raise InputError(f"{name} has no weight decay. Set weight_decay to 0.", setting="weight_decay")


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group: ``lr`` times its ``lr_factor``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_factor", 1.0)  # groups of older checkpoints have no factor


def clip_gradients(model: nn.Module, *, clip_norm: float = 0.0, clip_value: float = 0.0) -> torch.Tensor:
    """Clip the gradient of ``model`` in place, and return its L2 norm from before, [].

    Args:
        model: the network, with gradients.
        clip_norm: the gradient is scaled down to this L2 norm (Pascanu et al. 2013); 0: no scaling.
        clip_value: each number of the gradient is limited to [-clip_value, clip_value]; 0: no limit.
    """
    if clip_norm:
        return whole(nn.utils.clip_grad_norm_(model.parameters(), clip_norm))
    norm = whole(nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))
    if clip_value:
        nn.utils.clip_grad_value_(model.parameters(), clip_value)
    return norm


def guarded_step(optimizer: torch.optim.Optimizer, broken: torch.Tensor) -> None:
    """Run one step, which changes nothing if ``broken`` (float32 scalar on the parameters' device) is 1.

    The optimizers of ``build_optimizer`` read the flag, which gradient scaling also uses, on the device. For others,
    the host waits for the flag and then leaves out the step: one synchronization in each step.
    """
    if not getattr(optimizer, "_step_supports_amp_scaling", False):
        if not broken.item():
            optimizer.step()
        return
    optimizer.found_inf = broken  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]
