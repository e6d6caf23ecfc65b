"""AugMix (Hendrycks, Mu, Cubuk, Zoph, Gilmer, Lakshminarayanan, "AugMix: A Simple Data Processing Method to Improve
Robustness and Uncertainty", ICLR 2020): a clip is mixed with several chains of mild operations on it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from videopool.data.augment.parts import index_of, parts, sent
from videopool.data.augment.rand_augment import MAGNITUDES, RandDraws, operated, strengths_of
from videopool.errors import InputError

# The paper leaves out what its test of robustness to changed pictures does: contrast, brightness, color and sharpness.
OPERATIONS = (
    "autocontrast", "equalize", "posterize", "rotate", "solarize", "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip
_MILDEST = 0.1  # magnitude, as in the authors' code


@dataclasses.dataclass(frozen=True)
class AugMixDraws:
    """How B clips are mixed: what each chain does, and the shares float32 [chains + 1, B] of the clip itself and of the
    chains, of sum 1."""

    chains: tuple[RandDraws, ...]
    shares: np.ndarray


@dataclasses.dataclass(frozen=True)
class AugMix:
    """Each clip becomes ``(1 - m) clip + m sum_i w_i chain_i(clip)``, with m drawn from Beta(alpha, alpha) and w from
    Dirichlet(alpha, ..., alpha). It has the loss of any other augmentation: the paper's second term, which compares two
    mixtures of a picture, is not part of it.

    Attributes:
        chains: how many (3 in the paper).
        depth: a chain has 1 to ``depth`` operations of ``OPERATIONS``, drawn evenly (3).
        magnitude: that of each operation is drawn evenly from 0.1 to this, of at most 10 (3).
        alpha: of both distributions (1).
        fill: color of what moves into a frame from outside, levels of 0..255.

    Raises:
        InputError: for numbers that cannot be.
    """

    chains: int = 3
    depth: int = 3
    magnitude: float = 3.0
    alpha: float = 1.0
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.chains < 1 or self.depth < 1:
            raise InputError(f"AugMix of {self.chains} chains of up to {self.depth} operations: expected 1 or more")
        if not _MILDEST <= self.magnitude <= MAGNITUDES:
            raise InputError(f"AugMix magnitude {self.magnitude}: expected {_MILDEST} to {MAGNITUDES:g}")
        if not 0 < self.alpha < math.inf:
            raise InputError(f"AugMix alpha {self.alpha}: expected a number above 0")

    def __call__(self, clips: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """uint8 [B,3,T,H,W] to another uint8 [B,3,T,H,W]."""
        return chains_mixed(clips, self.draw(len(clips), rng), self.fill)

    def draw(self, clips: int, rng: np.random.Generator) -> AugMixDraws:
        """How a batch of ``clips`` is mixed."""
        chains = tuple(self._chain(clips, rng) for _ in range(self.chains))
        weights = rng.dirichlet([self.alpha] * self.chains, size=clips).T
        mixed = rng.beta(self.alpha, self.alpha, size=clips)
        return AugMixDraws(chains, np.concatenate([1 - mixed[None], mixed * weights]).astype(np.float32))

    def _chain(self, clips: int, rng: np.random.Generator) -> RandDraws:
        size = (self.depth, clips)
        lengths = rng.integers(1, self.depth + 1, size=clips)
        names = rng.choice(OPERATIONS, size=size).astype(object)
        names[np.arange(self.depth)[:, None] >= lengths] = "identity"
        return RandDraws(names, strengths_of(names, rng.uniform(_MILDEST, self.magnitude, size=size), rng))


def chains_mixed(
    clips: torch.Tensor, draws: AugMixDraws, fill: tuple[float, float, float], *, at_once: int | None = None
) -> torch.Tensor:
    """uint8 ``clips`` [B,3,T,H,W] mixed with their chains, as another uint8 tensor; sums are rounded to whole levels.

    ``at_once``: see ``parts``.
    """
    result = torch.empty_like(clips)
    for places in parts(np.arange(len(clips)), clips.device, at_once):
        index = index_of(places, clips.device)
        own, *shares = sent(draws.shares[:, places], clips.device).view(-1, len(places), 1, 1, 1, 1)
        levels = clips[index].float().mul_(own)
        for chain, share in zip(draws.chains, shares, strict=True):
            these = RandDraws(chain.names[:, places], chain.strengths[:, places])
            levels.add_(operated(clips[index], these, fill, at_once=at_once).float().mul_(share))
        result[index] = levels.round_().clamp_(0, 255).to(torch.uint8)
    return result
