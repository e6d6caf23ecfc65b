"""The section ``optim``: optimizer, learning-rate schedule and loss."""

from __future__ import annotations

import dataclasses
from typing import Literal

from videopool.config.section import Plain, Section, key, require
from videopool.ranges import (
    AT_LEAST_ZERO,
    BELOW_ONE,
    FRACTION,
    POSITIVE,
    POSITIVE_FRACTION,
    ZERO_IS_OFF,
    Range,
)

NO_CLIPPING = Range(0, note="0: no clipping")


@dataclasses.dataclass(frozen=True)
class Optim(Section):
    """Optimizer, learning-rate schedule and loss."""

    name: Literal["sgd", "adamw", "lars", "lamb"] = key(
        "sgd", "Optimizer. sgd uses Nesterov momentum; lars and lamb are for batches of thousands of clips."
    )
    target: str = key(
        "",
        "Custom optimizer, used instead of name: package.module.name, such as torch.optim.RAdam, called with (groups, "
        "lr=, **arguments) (docs/extending.md).",
    )
    arguments: Plain = key({}, "Keyword arguments of target.")
    lr: float = key(0.1, "Peak learning rate, after warm-up, for the global batch.", POSITIVE)
    weight_decay: float = key(
        1e-4, "Weight decay; not applied to biases and normalization parameters (see decay_all).", AT_LEAST_ZERO
    )
    decay_all: bool = key(
        False, "Also apply weight decay to biases and normalization parameters, as torchvision and mmaction2 do."
    )
    no_decay: tuple[str, ...] = key(
        (), "Patterns of names of further parameters without weight decay, such as '*.pos_embed'."
    )
    layer_decay: float = key(
        1.0,
        "Layer-wise learning-rate decay: each stage of the network has the rate of the next one times this number. 1: "
        "one rate.",
        POSITIVE_FRACTION,
    )
    momentum: float = key(0.9, "Momentum of sgd and lars.", BELOW_ONE)
    betas: tuple[float, float] = key((0.9, 0.999), "Betas of adamw and lamb.", BELOW_ONE)
    trust: float = key(0.001, "Trust coefficient of lars.", POSITIVE)
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
    decay_after_warmup: bool = key(
        False,
        "With cosine and polynomial: the decay begins at the end of the warm-up, at lr, as one_cycle does. false: it "
        "begins at the start of training, and the warm-up rises to the rate that it has reached.",
    )
    power: float = key(1.0, "With schedule=polynomial: the rate is lr * (1 - progress) ** power.", POSITIVE)
    milestones: tuple[float, ...] = key(
        (), "With schedule=multistep: epochs at which the learning rate is multiplied by gamma."
    )
    gamma: float = key(0.1, "With schedule=multistep: factor at each milestone.", FRACTION)
    loss: Literal["auto", "cross_entropy", "bce"] = key(
        "auto",
        "cross_entropy: of the softmax of all classes; bce: binary cross entropy of the sigmoid of each class, the "
        "mean over the classes. auto: bce if videos have several classes, else cross_entropy.",
    )
    label_smoothing: float = key(0.0, "Part of each target that is spread evenly over all classes.", BELOW_ONE)
    focal_gamma: float = key(
        0.0, "Focal loss: each term of the loss is multiplied by (1 - probability of its target) ** gamma.", ZERO_IS_OFF
    )
    class_weights: str = key(
        "",
        "Weights of the classes in the loss: balanced (inverse to the number of videos of a class; the mean over the "
        "videos is 1), or a text file with one number per class in label order, relative to data.root. Empty: all 1.",
    )
    clip_norm: float = key(0.0, "Maximum L2 norm of the gradient.", NO_CLIPPING)
    clip_value: float = key(0.0, "Maximum absolute value of each number of the gradient.", NO_CLIPPING)

    def check(self) -> None:
        require(
            bool(self.target) or not self.arguments, "arguments has no effect without target; remove it", "arguments"
        )
        require(
            not (self.clip_norm and self.clip_value),
            f"clip_value={self.clip_value:g} and clip_norm={self.clip_norm:g} exclude each other; set one to 0",
            "clip_value",
        )
        require(
            not self.decay_after_warmup or self.schedule in ("cosine", "polynomial"),
            f"decay_after_warmup=true is for the schedules cosine and polynomial, not {self.schedule}; remove it",
            "decay_after_warmup",
        )
        rising = list(self.milestones) == sorted(set(self.milestones))
        require(rising, f"milestones={list(self.milestones)} must be rising epochs", "milestones")
        require(
            self.schedule != "multistep" or bool(self.milestones),
            "milestones=[] must have at least one epoch with schedule=multistep",
            "milestones",
        )
