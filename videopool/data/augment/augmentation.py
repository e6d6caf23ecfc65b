"""All of the augmentation that a training step does, on the device, with randomness that is a function of its seed."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from videopool.data.augment.augmix import AugMix
from videopool.data.augment.color import ColorJitter
from videopool.data.augment.erase import Erase
from videopool.data.augment.mix import Mix, mixed_clips, mixed_targets
from videopool.data.augment.rand_augment import RandAugment
from videopool.types import Batch

_STREAMS = {"color": 0xA060, "rand_augment": 0xA061, "erase": 0xA062, "mix": 0xA063, "augmix": 0xA064}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Color jitter, RandAugment, AugMix, erasing and mixing of a batch, in this order; None leaves one out.

    Numbers are drawn by the processor, whatever device the clips are on, and each augmentation has a stream of its own
    that begins with the seed: so they are the same on every device, switching one of them on or off changes the draws
    of no other, and torch's generators are left alone.

    ``classes`` is K, how long the targets are that mixing makes of labels.
    """

    classes: int
    color: ColorJitter | None = None
    rand_augment: RandAugment | None = None
    augmix: AugMix | None = None
    erase: Erase | None = None
    mix: Mix | None = None

    def __call__(self, batch: Batch, seed: int) -> Batch:
        """The batch with clips augmented by what ``seed`` (not negative) decides, and with mixed ``targets`` float32
        [B,K] if there is a mix; ``batch`` itself, if nothing is on."""
        clips = batch.clips
        for name in ("color", "rand_augment", "augmix", "erase"):
            change: ColorJitter | RandAugment | AugMix | Erase | None = getattr(self, name)
            if change is not None:
                clips = change(clips, _stream(name, seed))
        if clips is not batch.clips:
            batch = dataclasses.replace(batch, clips=clips)
        return batch if self.mix is None else self._mixed(batch, self.mix, _stream("mix", seed))

    def _mixed(self, batch: Batch, mix: Mix, rng: np.random.Generator) -> Batch:
        targets = batch.targets
        if targets is None:
            targets = torch.nn.functional.one_hot(batch.labels, self.classes).float()
        draws = mix.draw(batch.clips.shape, rng)
        return dataclasses.replace(batch, clips=mixed_clips(batch.clips, draws), targets=mixed_targets(targets, draws))


def _stream(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng((_STREAMS[name], seed))
