"""LARS and LAMB: optimizers for large batches, which adapt the learning rate to the norm of each parameter.

Both work on lists of tensors (``torch._foreach_*``), without waiting for the device. Like torch's fused optimizers,
they read ``found_inf`` and ``grad_scale``, which ``torch.amp.GradScaler`` and ``optimizers.guarded_step`` set: with
``found_inf`` 1, a step changes neither parameters nor state; gradients are divided by ``grad_scale``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim.optimizer import ParamsT

Tensors = list[torch.Tensor]


class _LayerWise(torch.optim.Optimizer):
    """An optimizer that changes all parameters of a group together, in ``_change``."""

    _step_supports_amp_scaling = True

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters that have a gradient; return the loss of ``closure``, if it is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params, grads, use = _usable(self, group)
            if params:
                self._change(group, params, grads, use)
        return loss

    def _change(self, group: dict[str, Any], params: Tensors, grads: Tensors, use: torch.Tensor) -> None:
        """Change the ``params`` of ``group`` and their state; nothing changes if ``use`` is 0."""
        raise NotImplementedError


class LARS(_LayerWise):
    """Layer-wise adaptive rate scaling (You, Gitman, Ginsburg, "Large Batch Training of Convolutional Networks", 2017).

    Algorithm 1 of the paper, for a parameter w with gradient g, learning rate lr and momentum buffer v::

        trust = eta * |w| / (|g| + weight_decay * |w|)       1 if |w| or |g| is 0
        v = momentum * v + lr * trust * (g + weight_decay * w)
        w = w - v

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        momentum, weight_decay: as above.
        eta: the trust coefficient, 0.001 in the paper.
        adapt: whether the trust ratio is used.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 0.001,
        adapt: bool = True,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eta": eta, "adapt": adapt}
        super().__init__(params, defaults)

    def _change(self, group: dict[str, Any], params: Tensors, grads: Tensors, use: torch.Tensor) -> None:
        velocities = [_state(self, param, "velocity") for param in params]
        rates = group["lr"] * self._trust(group, params, grads)
        changes = torch._foreach_add(grads, params, alpha=group["weight_decay"])
        torch._foreach_mul_(changes, (rates * use).unbind())
        torch._foreach_mul_(velocities, 1 - use * (1 - group["momentum"]))
        torch._foreach_add_(velocities, changes)
        torch._foreach_add_(params, torch._foreach_mul(velocities, -use))

    def _trust(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> torch.Tensor:
        """Return the trust ratio of each parameter, [number of parameters]."""
        weight, grad = _norms(params), _norms(grads)
        ratio = group["eta"] * weight / (grad + group["weight_decay"] * weight)
        return _adapted(ratio, group, weight, grad)


class LAMB(_LayerWise):
    """Layer-wise adaptive moments (You et al., "Large Batch Optimization for Deep Learning", ICLR 2020).

    Algorithm 2 of the paper with phi(z) = z, for a parameter w with gradient g in step t::

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g ** 2
        u = (m / (1 - beta1 ** t)) / (sqrt(v / (1 - beta2 ** t)) + eps) + weight_decay * w
        w = w - lr * trust * u       trust = |w| / |u|, 1 if |w| or |u| is 0

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas, eps, weight_decay: as above.
        adapt: whether the trust ratio is used.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        adapt: bool = True,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "adapt": adapt}
        super().__init__(params, defaults)

    def _change(self, group: dict[str, Any], params: Tensors, grads: Tensors, use: torch.Tensor) -> None:
        updates = self._updates(group, params, grads, use)
        torch._foreach_add_(updates, params, alpha=group["weight_decay"])
        weight, update = _norms(params), _norms(updates)
        rates = group["lr"] * _adapted(weight / update, group, weight, update)
        torch._foreach_mul_(updates, (-rates * use).unbind())
        torch._foreach_add_(params, updates)

    def _updates(self, group: dict[str, Any], params: Tensors, grads: Tensors, use: torch.Tensor) -> Tensors:
        """Update the moments, and return the first over the root of the second, both corrected for their bias."""
        first, second = ([_state(self, param, name) for param in params] for name in ("exp_avg", "exp_avg_sq"))
        # Not named "step", which load_state_dict would leave on the CPU.
        counts = [_state(self, param, "updates", scalar=True) for param in params]
        torch._foreach_add_(counts, use)
        squares = list(torch._foreach_mul(grads, grads))
        corrections = []
        for beta, moments, values in zip(group["betas"], (first, second), (grads, squares), strict=True):
            torch._foreach_mul_(moments, 1 - use * (1 - beta))
            torch._foreach_add_(moments, torch._foreach_mul(values, use * (1 - beta)))
            corrections.append(1 - beta ** torch.stack(counts).clamp_min(1))
        roots = torch._foreach_sqrt(second)
        torch._foreach_div_(roots, corrections[1].sqrt().unbind())
        torch._foreach_add_(roots, group["eps"])
        updates = torch._foreach_div(first, roots)
        torch._foreach_div_(updates, corrections[0].unbind())
        return list(updates)


def _usable(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> tuple[Tensors, Tensors, torch.Tensor]:
    """Return the parameters with a gradient, their gradients, and whether to use these: a tensor [], 1 or 0.

    If not, the gradients are zeros.
    """
    params: Tensors = [param for param in group["params"] if param.grad is not None]
    if not params:
        return [], [], torch.ones(())
    grads: Iterable[torch.Tensor] = [param.grad for param in params if param.grad is not None]
    scale, found = getattr(optimizer, "grad_scale", None), getattr(optimizer, "found_inf", None)
    if scale is not None:
        grads = torch._foreach_div(list(grads), scale)
    if found is None:
        return params, list(grads), params[0].new_ones(())
    broken = found.reshape(()).to(params[0].device) > 0
    return params, [grad.masked_fill(broken, 0.0) for grad in grads], (~broken).to(params[0].dtype)


def _state(optimizer: torch.optim.Optimizer, param: torch.Tensor, name: str, *, scalar: bool = False) -> torch.Tensor:
    """Return the tensor ``name`` of the state of ``param``; in the first step, zeros."""
    state = optimizer.state[param]
    if name not in state:
        state[name] = param.new_zeros(()) if scalar else torch.zeros_like(param)
    tensor: torch.Tensor = state[name]
    return tensor


def _norms(tensors: Tensors) -> torch.Tensor:
    """Return the L2 norm of each tensor, [number of tensors]."""
    return torch.stack(list(torch._foreach_norm(tensors)))


def _adapted(ratio: torch.Tensor, group: dict[str, Any], one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the trust ratios: 1 where a norm is 0, and in groups that are not adapted."""
    if not group["adapt"]:
        return torch.ones_like(ratio)
    return torch.where((one > 0) & (other > 0), ratio, 1.0)
