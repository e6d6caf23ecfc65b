"""Mixup and CutMix: mix each clip of a batch, and its target, with another.

Mixup: Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018. CutMix: Yun, Han, Oh,
Chun, Choe, Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV 2019.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from videopool.data.augment.parts import clip_index, parts, to_device
from videopool.errors import InputError
from videopool.ranges import FRACTION, ZERO_IS_OFF
from videopool.types import Place


@dataclasses.dataclass(frozen=True)
class MixDraws:
    """How B clips are mixed.

    Attributes:
        partner: int64 [B], the clip that each is mixed with.
        own: float32 [B], the weight of the clip's own target.
        cut: bool [B], True for CutMix, False for mixup.
        boxes: int64 [B,4] (top, left, bottom, right), what CutMix takes from the partner.
    """

    partner: np.ndarray
    own: np.ndarray
    cut: np.ndarray
    boxes: np.ndarray

    def of(self, place: Place) -> MixDraws:
        """Return the draws of the clips at ``place``, which are mixed with each other only."""
        rows = place.clips
        return MixDraws(self.partner[rows] - place.first, self.own[rows], self.cut[rows], self.boxes[rows])


@dataclasses.dataclass(frozen=True)
class Mix:
    """Mix every clip with a partner, by mixup, by CutMix, or by either of the two.

    A weight is drawn from Beta(alpha, alpha) for each clip. Mixup adds the two clips with these weights. CutMix copies
    a box of the partner into all frames; its area is the partner's weight, its center is drawn uniformly, and what
    crosses the border of the frame is cut off. The weight of the target is the area that remains, in whole pixels.
    Partners are a permutation of the clips of a group, in which a clip may be its own partner.

    Attributes:
        mixup: alpha of mixup; 0: off.
        cutmix: alpha of CutMix; 0: off.
        switch: probability of CutMix for a clip if both are on.

    Raises:
        InputError: if a value is out of range, or both are off.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    switch: float = 0.5

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            ZERO_IS_OFF.check(name, getattr(self, name))
        FRACTION.check("switch", self.switch)
        if not self.mixup and not self.cutmix:
            raise InputError("mixup and cutmix are both 0. Set one of them above 0.", setting="mixup")

    def draw(self, shape: torch.Size, rng: np.random.Generator, group: int | None = None) -> MixDraws:
        """Draw how a batch of ``shape`` [B,C,T,H,W] is mixed, in groups of ``group`` clips; None: all are one group."""
        clips, height, width = shape[0], shape[3], shape[4]
        group = group or clips
        chance = self.switch if self.mixup and self.cutmix else float(bool(self.cutmix))
        partner = np.concatenate([first + rng.permutation(group) for first in range(0, clips, group)])
        cut = rng.random(clips) < chance
        alpha = np.where(cut, self.cutmix, self.mixup)
        weight = rng.beta(alpha, alpha)
        boxes = _boxes(weight, rng.random((clips, 2)), height, width)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        own = np.where(cut, 1 - area / (height * width), weight)
        return MixDraws(partner, own.astype(np.float32), cut, boxes)


def mix_clips(clips: torch.Tensor, draws: MixDraws, *, at_once: int | None = None) -> torch.Tensor:
    """Mix uint8 ``clips`` [B,C,T,H,W]; return a new uint8 tensor, rounded to the nearest level.

    ``at_once``: see ``parts``.
    """
    result = clips.clone()
    for summed in parts(np.flatnonzero(~draws.cut), clips.device, at_once):
        index, others = (clip_index(places, clips.device) for places in (summed, draws.partner[summed]))
        own = to_device(draws.own[summed], clips.device).view(-1, 1, 1, 1, 1)
        levels = clips[index].float().mul_(own).add_(clips[others].float().mul_(1 - own))
        result[index] = levels.round_().to(torch.uint8)
    for clip in np.flatnonzero(draws.cut).tolist():
        top, left, bottom, right = draws.boxes[clip].tolist()
        other = clips[int(draws.partner[clip])]
        result[clip, ..., top:bottom, left:right] = other[..., top:bottom, left:right]
    return result


def mix_targets(targets: torch.Tensor, draws: MixDraws) -> torch.Tensor:
    """Mix float32 ``targets`` [B,K] as their clips are mixed; return a new tensor."""
    own = to_device(draws.own, targets.device)[:, None]
    return own * targets + (1 - own) * targets[to_device(draws.partner, targets.device)]


def _boxes(weight: np.ndarray, place: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return boxes int64 [B,4] (top, left, bottom, right) of the shape of the frame, cut off at its border.

    Args:
        weight: [B]; a box has 1 - weight of the frame's area.
        place: [B,2], the center of a box (row, column) as fractions of the frame.
        height, width: of the frame.
    """
    size = np.array([height, width])
    half = size * np.sqrt(1 - weight)[:, None] / 2
    center = place * size
    first = np.clip(np.rint(center - half), 0, size)
    last = np.clip(np.rint(center + half), 0, size)
    return np.concatenate([first, last], axis=1).astype(np.int64)
