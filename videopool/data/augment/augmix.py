"""AugMix: mix a clip with the results of several chains of mild operations on it.

Hendrycks, Mu, Cubuk, Zoph, Gilmer, Lakshminarayanan, "AugMix: A Simple Data Processing Method to Improve Robustness and
Uncertainty", ICLR 2020.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from videopool.data.augment.parts import clip_index, parts, to_device
from videopool.data.augment.rand_augment import RandDraws, apply_operations, draw_strengths
from videopool.ranges import AT_LEAST_ONE, MILDEST, MIXED_MAGNITUDE, POSITIVE
from videopool.types import Place

# The paper leaves out the operations that its robustness benchmark tests: contrast, brightness, color and sharpness.
OPERATIONS = (
    "autocontrast", "equalize", "posterize", "rotate", "solarize", "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class AugMixDraws:
    """How B clips are mixed.

    Attributes:
        chains: the operations of each chain.
        shares: float32 [chains + 1, B], of the clip itself and of each chain; they add up to 1.
    """

    chains: tuple[RandDraws, ...]
    shares: np.ndarray

    def of(self, clips: slice) -> AugMixDraws:
        """Return the draws of some of the clips."""
        return AugMixDraws(tuple(chain.of(clips) for chain in self.chains), self.shares[:, clips])


@dataclasses.dataclass(frozen=True)
class AugMix:
    """Replace each clip by ``(1 - m) clip + m sum_i w_i chain_i(clip)``.

    m is drawn from Beta(alpha, alpha), w from Dirichlet(alpha, ..., alpha). The paper's second loss term, which
    compares two mixtures of an image, is not implemented.

    Attributes:
        chains: number of chains (3 in the paper).
        depth: a chain has 1 to ``depth`` operations of ``OPERATIONS``, drawn uniformly (3).
        magnitude: the magnitude of an operation is drawn uniformly from 0.1 to this, at most 10 (3).
        alpha: of both distributions (1).
        fill: color of the area that moves into a frame, levels 0..255.

    Raises:
        InputError: if a value is out of range.
    """

    chains: int = 3
    depth: int = 3
    magnitude: float = 3.0
    alpha: float = 1.0
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        AT_LEAST_ONE.check("chains", self.chains)
        AT_LEAST_ONE.check("depth", self.depth)
        MIXED_MAGNITUDE.check("magnitude", self.magnitude)
        POSITIVE.check("alpha", self.alpha)

    def __call__(self, clips: torch.Tensor, rng: np.random.Generator, place: Place | None = None) -> torch.Tensor:
        """Return uint8 ``clips`` [B,3,T,H,W], augmented, as a new tensor; they are those at ``place`` of a step."""
        place = place or Place.of(len(clips))
        return mix_chains(clips, self.draw(place.whole, rng).of(place.clips), self.fill)

    def draw(self, clips: int, rng: np.random.Generator) -> AugMixDraws:
        """Draw how a batch of ``clips`` clips is mixed."""
        chains = tuple(self._chain(clips, rng) for _ in range(self.chains))
        weights = rng.dirichlet([self.alpha] * self.chains, size=clips).T
        mixed = rng.beta(self.alpha, self.alpha, size=clips)
        return AugMixDraws(chains, np.concatenate([1 - mixed[None], mixed * weights]).astype(np.float32))

    def _chain(self, clips: int, rng: np.random.Generator) -> RandDraws:
        size = (self.depth, clips)
        lengths = rng.integers(1, self.depth + 1, size=clips)
        names = rng.choice(OPERATIONS, size=size).astype(object)
        names[np.arange(self.depth)[:, None] >= lengths] = "identity"
        return RandDraws(names, draw_strengths(names, rng.uniform(MILDEST, self.magnitude, size=size), rng))


def mix_chains(
    clips: torch.Tensor, draws: AugMixDraws, fill: tuple[float, float, float], *, at_once: int | None = None
) -> torch.Tensor:
    """Mix uint8 ``clips`` [B,3,T,H,W] with their chains; return a new uint8 tensor, rounded to the nearest level.

    ``at_once``: see ``parts``.
    """
    result = torch.empty_like(clips)
    for places in parts(np.arange(len(clips)), clips.device, at_once):
        index = clip_index(places, clips.device)
        own, *shares = to_device(draws.shares[:, places], clips.device).view(-1, len(places), 1, 1, 1, 1)
        levels = clips[index].float().mul_(own)
        for chain, share in zip(draws.chains, shares, strict=True):
            these = RandDraws(chain.names[:, places], chain.strengths[:, places])
            levels.add_(apply_operations(clips[index], these, fill, at_once=at_once).float().mul_(share))
        result[index] = levels.round_().clamp_(0, 255).to(torch.uint8)
    return result
