"""Each clip of a batch is mixed with another, and so are their targets.

Mixup: Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018. CutMix: Yun, Han, Oh,
Chun, Choe, Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from videopool.data.augment.parts import index_of, parts, sent
from videopool.errors import InputError


@dataclasses.dataclass(frozen=True)
class MixDraws:
    """How B clips are mixed. ``partner`` int64 [B] is the other clip of each, ``own`` float32 [B] the weight that its
    own target keeps. ``boxes`` int64 [B,4] (top, left, bottom, right) come from the partner where ``cut`` bool [B]; the
    other clips are weighted sums."""

    partner: np.ndarray
    own: np.ndarray
    cut: np.ndarray
    boxes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Mix:
    """Mixes every clip with a partner, by mixup, by CutMix, or by either.

    A weight is drawn from Beta(alpha, alpha) for each clip. Mixup sums the two clips by it; CutMix puts a box of the
    partner into all frames, about a place drawn evenly and cut at the border of the frame, whose area would be the
    partner's weight but for the border and for whole pixels: the target's weight is that of the actual area.
    Partners are a permutation of the batch; a clip may be its own.

    Attributes:
        mixup: alpha of mixup; 0: off.
        cutmix: alpha of CutMix; 0: off.
        switch: chance of CutMix for a clip, where both are on.

    Raises:
        InputError: for numbers that cannot be, and where both are off.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    switch: float = 0.5

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} with alpha {getattr(self, name)}: expected 0 (off) or more")
        if not 0 <= self.switch <= 1:
            raise InputError(f"chance of CutMix {self.switch}: expected 0 to 1")
        if not self.mixup and not self.cutmix:
            raise InputError("mixup and CutMix both have alpha 0; set one of them above 0")

    def draw(self, shape: torch.Size, rng: np.random.Generator) -> MixDraws:
        """How a batch of ``shape`` [B,C,T,H,W] is mixed."""
        clips, height, width = shape[0], shape[3], shape[4]
        chance = self.switch if self.mixup and self.cutmix else float(bool(self.cutmix))
        partner = rng.permutation(clips)
        cut = rng.random(clips) < chance
        alpha = np.where(cut, self.cutmix, self.mixup)
        weight = rng.beta(alpha, alpha)
        boxes = _boxes(weight, rng.random((clips, 2)), height, width)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        own = np.where(cut, 1 - area / (height * width), weight)
        return MixDraws(partner, own.astype(np.float32), cut, boxes)


def mixed_clips(clips: torch.Tensor, draws: MixDraws, *, at_once: int | None = None) -> torch.Tensor:
    """uint8 ``clips`` [B,C,T,H,W] mixed, as another uint8 tensor; weighted sums are rounded to the nearest level.

    ``at_once``: see ``parts``.
    """
    result = clips.clone()
    for summed in parts(np.flatnonzero(~draws.cut), clips.device, at_once):
        index, others = (index_of(places, clips.device) for places in (summed, draws.partner[summed]))
        own = sent(draws.own[summed], clips.device).view(-1, 1, 1, 1, 1)
        levels = clips[index].float().mul_(own).add_(clips[others].float().mul_(1 - own))
        result[index] = levels.round_().to(torch.uint8)
    for clip in np.flatnonzero(draws.cut).tolist():
        top, left, bottom, right = draws.boxes[clip].tolist()
        other = clips[int(draws.partner[clip])]
        result[clip, ..., top:bottom, left:right] = other[..., top:bottom, left:right]
    return result


def mixed_targets(targets: torch.Tensor, draws: MixDraws) -> torch.Tensor:
    """float32 ``targets`` [B,K] weighted as their clips are, as another tensor."""
    own = sent(draws.own, targets.device)[:, None]
    return own * targets + (1 - own) * targets[sent(draws.partner, targets.device)]


def _boxes(weight: np.ndarray, place: np.ndarray, height: int, width: int) -> np.ndarray:
    """int64 [B,4] (top, left, bottom, right): 1 - ``weight`` [B] of the frame's area, its shape, about ``place`` [B,2]
    (row and column in parts of the frame), cut at its border."""
    size = np.array([height, width])
    half = size * np.sqrt(1 - weight)[:, None] / 2
    center = place * size
    first = np.clip(np.rint(center - half), 0, size)
    last = np.clip(np.rint(center + half), 0, size)
    return np.concatenate([first, last], axis=1).astype(np.int64)
