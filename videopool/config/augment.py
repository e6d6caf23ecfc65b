"""The section ``augment``."""

from __future__ import annotations

import dataclasses

from videopool.config.section import Plain, Section, key, require, section
from videopool.ranges import (
    AT_LEAST_ONE,
    AT_LEAST_ZERO,
    FRACTION,
    HUE,
    MAGNITUDE,
    MIXED_MAGNITUDE,
    POSITIVE,
    ZERO_IS_OFF,
)


@dataclasses.dataclass(frozen=True)
class Color(Section):
    """Color jitter with the ranges of torchvision's ColorJitter, drawn once for each clip. 0 is off."""

    brightness: float = key(0.0, "b: the brightness factor is drawn from [max(0, 1 - b), 1 + b].", ZERO_IS_OFF)
    contrast: float = key(0.0, "The same for contrast.", ZERO_IS_OFF)
    saturation: float = key(0.0, "The same for saturation.", ZERO_IS_OFF)
    hue: float = key(0.0, "h: the hue is rotated by a random part of a turn from [-h, h].", HUE)


@dataclasses.dataclass(frozen=True)
class RandAugment(Section):
    """RandAugment (Cubuk et al. 2020): random operations on each clip, around one magnitude."""

    operations: int = key(0, "Number of operations on each clip.", ZERO_IS_OFF)
    magnitude: float = key(7.0, "Magnitude of the operations.", MAGNITUDE)
    deviation: float = key(0.5, "Standard deviation of each operation's magnitude.", AT_LEAST_ZERO)


@dataclasses.dataclass(frozen=True)
class AugMix(Section):
    """AugMix (Hendrycks et al. 2020): mixes each clip with versions of it that chains of operations have changed."""

    chains: int = key(0, "Number of chains; 3 in the paper.", ZERO_IS_OFF)
    depth: int = key(3, "Largest number of operations in a chain.", AT_LEAST_ONE)
    magnitude: float = key(3.0, "The magnitude of each operation is drawn from 0.1 to this value.", MIXED_MAGNITUDE)
    alpha: float = key(
        1.0,
        "Parameter of the Beta distribution of the mixing weight and the Dirichlet distribution of the chain weights.",
        POSITIVE,
    )


@dataclasses.dataclass(frozen=True)
class Augment(Section):
    """Changes to training clips after cropping and mirroring (docs/augmentation.md)."""

    color: Color = section(Color)
    rand_augment: RandAugment = section(RandAugment)
    augmix: AugMix = section(AugMix)
    erase: float = key(0.0, "Random erasing: probability that a random box of a clip is covered with noise.", FRACTION)
    mixup: float = key(0.0, "Mixup: the mixing weight is drawn from Beta(alpha, alpha) with this alpha.", ZERO_IS_OFF)
    cutmix: float = key(
        0.0,
        "CutMix: the area of the box is drawn from Beta(alpha, alpha) with this alpha.",
        ZERO_IS_OFF,
    )
    mix_switch: float = key(0.5, "Probability of CutMix instead of mixup for a clip, if both are on.", FRACTION)
    no_flip: tuple[str, ...] = key(
        (), "Names of classes whose clips are never mirrored, because left and right matter in them."
    )
    target: str = key("", "Custom augmentation: package.module.function (docs/extending.md).")
    arguments: Plain = key({}, "Keyword arguments of target.")

    def check(self) -> None:
        require(
            bool(self.target) or not self.arguments, "arguments has no effect without target; remove it", "arguments"
        )
