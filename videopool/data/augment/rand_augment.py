"""RandAugment (Cubuk, Zoph, Shlens, Le, "RandAugment: Practical automated data augmentation with a reduced search
space", 2020): a few operations of a fixed list, drawn for each clip, all of one magnitude."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from videopool.data.augment import levels as colors
from videopool.data.augment import warp as movements
from videopool.data.augment.parts import index_of, parts
from videopool.errors import InputError

MAGNITUDES = 10.0  # at which an operation is at its strongest

# (levels float32 [N,3,T,H,W], strength float32 [N] on the CPU, fill float32 [3]) -> levels
Change = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Operation:
    """``change`` of a strength that goes from ``mildest`` (magnitude 0) to ``strongest`` (magnitude 10), linearly;
    with ``both_ways`` half of the time as far to the other side of ``mildest``."""

    change: Change
    mildest: float = 0.0
    strongest: float = 0.0
    both_ways: bool = False


@dataclasses.dataclass(frozen=True)
class RandDraws:
    """What is done to B clips, one operation after another: names of ``OPERATIONS`` [operations, B] and their
    strengths float32 [operations, B]."""

    names: np.ndarray
    strengths: np.ndarray


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """Each clip goes through ``operations`` of ``OPERATIONS``, drawn with equal chances and with repetition.

    Attributes:
        operations: for each clip.
        magnitude: 0 to 10, of all of them. AutoAugment's ranges are the strongest; color operations go either way.
        deviation: standard deviation of a normal distribution about ``magnitude``, kept within 0..10, that the
            magnitude of each operation is drawn from; 0 draws none.
        fill: color of what moves into a frame from outside, levels of 0..255.

    Raises:
        InputError: for numbers that cannot be.
    """

    operations: int
    magnitude: float
    deviation: float = 0.0
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.operations < 1:
            raise InputError(f"RandAugment of {self.operations} operations: expected 1 or more")
        if not 0 <= self.magnitude <= MAGNITUDES:
            raise InputError(f"RandAugment magnitude {self.magnitude}: expected 0 to {MAGNITUDES:g}")
        if not self.deviation >= 0:
            raise InputError(f"RandAugment deviation {self.deviation}: expected 0 or more")

    def __call__(self, clips: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """uint8 [B,3,T,H,W] to another uint8 [B,3,T,H,W]."""
        return operated(clips, self.draw(len(clips), rng), self.fill)

    def draw(self, clips: int, rng: np.random.Generator) -> RandDraws:
        """What is done to a batch of ``clips``."""
        size = (self.operations, clips)
        names = rng.choice(list(OPERATIONS), size=size)
        magnitudes = np.clip(rng.normal(self.magnitude, self.deviation, size=size), 0, MAGNITUDES)
        return RandDraws(names, strengths_of(names, magnitudes, rng))


def strengths_of(names: np.ndarray, magnitudes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32: how strong the operations ``names`` are at ``magnitudes`` (0 to 10), either way where they have two."""
    side = rng.choice([-1.0, 1.0], size=names.shape)
    mildest, strongest, both = (
        np.array([getattr(OPERATIONS[name], field) for name in names.flat]).reshape(names.shape)
        for field in ("mildest", "strongest", "both_ways")
    )
    part = magnitudes / MAGNITUDES
    return (mildest + np.where(both, side, 1.0) * part * (strongest - mildest)).astype(np.float32)


def operated(
    clips: torch.Tensor, draws: RandDraws, fill: tuple[float, float, float], *, at_once: int | None = None
) -> torch.Tensor:
    """The operations ``draws`` of uint8 ``clips`` [B,3,T,H,W], as another uint8 tensor.

    The clips whose operation is the same go through it together, ``at_once`` of them (see ``parts``).
    """
    result = clips.clone()
    outside = torch.tensor(fill, dtype=torch.float32)
    for names, strengths in zip(draws.names, draws.strengths, strict=True):
        for name in sorted(set(names.tolist()) - {"identity"}):
            for chosen in parts(np.flatnonzero(names == name), clips.device, at_once):
                index, strength = index_of(chosen, clips.device), torch.from_numpy(strengths[chosen])
                levels = OPERATIONS[name].change(result[index].float(), strength, outside)
                result[index] = colors.quantized(levels)
    return result


def _colored(change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Change:
    return lambda levels, strength, fill: change(levels, strength.to(levels.device, non_blocking=True))


def _measured(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    """A change that depends on the clip alone."""
    return lambda levels, strength, fill: change(levels)


def _moved(matrices: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    return lambda levels, strength, fill: movements.warp(levels, matrices(strength), fill)


OPERATIONS: dict[str, Operation] = {
    "identity": Operation(_measured(lambda levels: levels)),
    "autocontrast": Operation(_measured(colors.autocontrast)),
    "equalize": Operation(_measured(colors.equalize)),
    "rotate": Operation(_moved(movements.rotation), 0, 30, both_ways=True),  # degrees
    "solarize": Operation(_colored(colors.solarize), 256, 0),
    "color": Operation(_colored(colors.saturation), 1, 1.9, both_ways=True),
    "posterize": Operation(_colored(colors.posterize), 8, 4),  # bits
    "contrast": Operation(_colored(colors.contrast), 1, 1.9, both_ways=True),
    "brightness": Operation(_colored(colors.brightness), 1, 1.9, both_ways=True),
    "sharpness": Operation(_colored(colors.sharpness), 1, 1.9, both_ways=True),
    "shear_x": Operation(_moved(movements.shear_x), 0, 0.3, both_ways=True),
    "shear_y": Operation(_moved(movements.shear_y), 0, 0.3, both_ways=True),
    "translate_x": Operation(_moved(movements.translation_x), 0, 0.45, both_ways=True),  # of the width
    "translate_y": Operation(_moved(movements.translation_y), 0, 0.45, both_ways=True),  # of the height
}
