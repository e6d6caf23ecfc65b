"""RandAugment: a few operations of a fixed list, drawn for each clip, all of one magnitude.

Cubuk, Zoph, Shlens, Le, "RandAugment: Practical automated data augmentation with a reduced search space", 2020.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from videopool.data.augment import levels, warp
from videopool.data.augment.parts import clip_index, parts
from videopool.ranges import AT_LEAST_ONE, AT_LEAST_ZERO, MAGNITUDE, STRONGEST
from videopool.types import Place

# (levels float32 [N,3,T,H,W], strength float32 [N] on the CPU, fill float32 [3]) -> levels
Change = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Operation:
    """A ``change`` whose strength grows linearly from ``mildest`` (magnitude 0) to ``strongest`` (magnitude 10).

    With ``both_ways``, half of the strengths are as far from ``mildest`` in the other direction.
    """

    change: Change
    mildest: float = 0.0
    strongest: float = 0.0
    both_ways: bool = False


@dataclasses.dataclass(frozen=True)
class RandDraws:
    """The operations on B clips, in their order: ``names`` of ``OPERATIONS`` and float32 ``strengths``, both
    [operations, B]."""

    names: np.ndarray
    strengths: np.ndarray

    def of(self, clips: slice) -> RandDraws:
        """Return the draws of some of the clips."""
        return RandDraws(self.names[:, clips], self.strengths[:, clips])


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """Apply ``operations`` of ``OPERATIONS`` to each clip, drawn uniformly and with repetition.

    Attributes:
        operations: number of operations on each clip.
        magnitude: of all operations, 0 to 10. The strongest is the end of AutoAugment's range; color operations go in
            both directions.
        deviation: standard deviation of the normal distribution around ``magnitude``, clipped to 0..10, from which the
            magnitude of each operation is drawn.
        fill: color of the area that moves into a frame, levels 0..255.

    Raises:
        InputError: if a value is out of range.
    """

    operations: int
    magnitude: float
    deviation: float = 0.0
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        AT_LEAST_ONE.check("operations", self.operations)
        MAGNITUDE.check("magnitude", self.magnitude)
        AT_LEAST_ZERO.check("deviation", self.deviation)

    def __call__(self, clips: torch.Tensor, rng: np.random.Generator, place: Place | None = None) -> torch.Tensor:
        """Return uint8 ``clips`` [B,3,T,H,W], augmented, as a new tensor; they are those at ``place`` of a step."""
        place = place or Place.of(len(clips))
        return apply_operations(clips, self.draw(place.whole, rng).of(place.clips), self.fill)

    def draw(self, clips: int, rng: np.random.Generator) -> RandDraws:
        """Draw the operations for a batch of ``clips`` clips."""
        size = (self.operations, clips)
        names = rng.choice(list(OPERATIONS), size=size)
        magnitudes = np.clip(rng.normal(self.magnitude, self.deviation, size=size), 0, STRONGEST)
        return RandDraws(names, draw_strengths(names, magnitudes, rng))


def draw_strengths(names: np.ndarray, magnitudes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the float32 strengths of the operations ``names`` at ``magnitudes`` (0 to 10), in a random direction."""
    side = rng.choice([-1.0, 1.0], size=names.shape)
    mildest, strongest, both = (
        np.array([getattr(OPERATIONS[name], field) for name in names.flat]).reshape(names.shape)
        for field in ("mildest", "strongest", "both_ways")
    )
    part = magnitudes / STRONGEST
    return (mildest + np.where(both, side, 1.0) * part * (strongest - mildest)).astype(np.float32)


def apply_operations(
    clips: torch.Tensor, draws: RandDraws, fill: tuple[float, float, float], *, at_once: int | None = None
) -> torch.Tensor:
    """Apply the operations ``draws`` to uint8 ``clips`` [B,3,T,H,W]; return a new uint8 tensor.

    Clips with the same operation are processed together, ``at_once`` of them (see ``parts``).
    """
    result = clips.clone()
    outside = torch.tensor(fill, dtype=torch.float32)
    for names, strengths in zip(draws.names, draws.strengths, strict=True):
        for name in sorted(set(names.tolist()) - {"identity"}):
            for chosen in parts(np.flatnonzero(names == name), clips.device, at_once):
                index, strength = clip_index(chosen, clips.device), torch.from_numpy(strengths[chosen])
                result[index] = levels.to_uint8(OPERATIONS[name].change(result[index].float(), strength, outside))
    return result


def _with_strength(change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Change:
    return lambda levels, strength, fill: change(levels, strength.to(levels.device, non_blocking=True))


def _without_strength(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    return lambda levels, strength, fill: change(levels)


def _affine(matrices: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    return lambda levels, strength, fill: warp.warp(levels, matrices(strength), fill)


OPERATIONS: dict[str, Operation] = {
    "identity": Operation(_without_strength(lambda levels: levels)),
    "autocontrast": Operation(_without_strength(levels.autocontrast)),
    "equalize": Operation(_without_strength(levels.equalize)),
    "rotate": Operation(_affine(warp.rotation), 0, 30, both_ways=True),  # degrees
    "solarize": Operation(_with_strength(levels.solarize), 256, 0),
    "color": Operation(_with_strength(levels.saturation), 1, 1.9, both_ways=True),
    "posterize": Operation(_with_strength(levels.posterize), 8, 4),  # bits
    "contrast": Operation(_with_strength(levels.contrast), 1, 1.9, both_ways=True),
    "brightness": Operation(_with_strength(levels.brightness), 1, 1.9, both_ways=True),
    "sharpness": Operation(_with_strength(levels.sharpness), 1, 1.9, both_ways=True),
    "shear_x": Operation(_affine(lambda strength: warp.matrices(xy=strength)), 0, 0.3, both_ways=True),
    "shear_y": Operation(_affine(lambda strength: warp.matrices(yx=strength)), 0, 0.3, both_ways=True),
    "translate_x": Operation(
        _affine(lambda strength: warp.matrices(x=strength)), 0, 0.45, both_ways=True
    ),  # of the width
    "translate_y": Operation(
        _affine(lambda strength: warp.matrices(y=strength)), 0, 0.45, both_ways=True
    ),  # of the height
}
