"""Optimizers, and a step that skips updates after a non-finite gradient without a host sync."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn


def build_optimizer(
    model: nn.Module,
    name: Literal["sgd", "adamw"],
    *,
    lr: float,
    weight_decay: float,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
) -> torch.optim.Optimizer:
    """Return fused SGD with Nesterov momentum, or fused AdamW (Loshchilov & Hutter 2019).

    Parameters of one dimension (biases, normalization layers) have no weight decay.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=True)
    return torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def guarded_step(optimizer: torch.optim.Optimizer, broken: torch.Tensor) -> None:
    """Run one step, which changes nothing if ``broken`` (float32 scalar on the parameters' device) is 1.

    The fused optimizers read the flag, which gradient scaling also uses, on the device.
    """
    optimizer.found_inf = broken  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]
