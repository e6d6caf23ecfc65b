"""The section ``optim``: optimizer, learning-rate schedule and loss."""

from __future__ import annotations

import dataclasses
from typing import Literal

from videopool.config.section import Section, key, require
from videopool.ranges import AT_LEAST_ZERO, BELOW_ONE, FRACTION, POSITIVE, Range


@dataclasses.dataclass(frozen=True)
class Optim(Section):
    """Optimizer, learning-rate schedule and loss."""

    name: Literal["sgd", "adamw"] = key("sgd", "Optimizer. sgd uses Nesterov momentum.")
    lr: float = key(0.1, "Peak learning rate, after warm-up, for the global batch.", POSITIVE)
    weight_decay: float = key(1e-4, "Weight decay; not applied to biases and normalization parameters.", AT_LEAST_ZERO)
    momentum: float = key(0.9, "Momentum of sgd.", BELOW_ONE)
    betas: tuple[float, float] = key((0.9, 0.999), "Betas of adamw.", BELOW_ONE)
    schedule: Literal["cosine", "multistep", "constant", "polynomial", "one_cycle"] = key(
        "cosine", "Learning-rate schedule after warm-up. one_cycle rises during warmup_epochs, then falls to final."
    )
    warmup_epochs: float = key(0.0, "Epochs of warm-up from warmup_start * lr.", AT_LEAST_ZERO)
    warmup_start: float = key(0.01, "Learning rate at the start of warm-up, as a fraction of lr.", FRACTION)
    final: float = key(
        0.0, "With cosine, polynomial and one_cycle: learning rate at the end, as a fraction of lr.", FRACTION
    )
    cooldown_epochs: float = key(
        0.0, "With cosine, polynomial and one_cycle: the last epochs, which stay at the rate final * lr.", AT_LEAST_ZERO
    )
    power: float = key(1.0, "With schedule=polynomial: the rate is lr * (1 - progress) ** power.", POSITIVE)
    milestones: tuple[float, ...] = key(
        (), "With schedule=multistep: epochs at which the learning rate is multiplied by gamma."
    )
    gamma: float = key(0.1, "With schedule=multistep: factor at each milestone.", FRACTION)
    label_smoothing: float = key(0.0, "Label smoothing of the cross-entropy loss.", BELOW_ONE)
    clip_norm: float = key(0.0, "Maximum L2 norm of the gradient.", Range(0, note="0: no clipping"))

    def check(self) -> None:
        rising = list(self.milestones) == sorted(set(self.milestones))
        require(rising, f"milestones={list(self.milestones)} must be rising epochs", "milestones")
        require(
            self.schedule != "multistep" or bool(self.milestones),
            "milestones=[] must have at least one epoch with schedule=multistep",
            "milestones",
        )
