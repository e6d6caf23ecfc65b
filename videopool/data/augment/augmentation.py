"""All augmentation of a training step, on the device of the clips; its randomness is a function of a seed."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from videopool.data.augment.augmix import AugMix
from videopool.data.augment.color import ColorJitter
from videopool.data.augment.custom import CustomAugmentation
from videopool.data.augment.erase import Erase
from videopool.data.augment.mix import Mix, mix_clips, mix_targets
from videopool.data.augment.rand_augment import RandAugment
from videopool.types import Batch, Place

_STREAMS = {
    "color": 0xA060,
    "rand_augment": 0xA061,
    "erase": 0xA062,
    "mix": 0xA063,
    "augmix": 0xA064,
    "custom": 0xA065,
}


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Color jitter, RandAugment, AugMix, a user's function, erasing and mixing of a batch, in this order; None is off.

    Each augmentation draws its numbers on the CPU from its own stream, which starts from the seed. So the numbers are
    the same on every device, switching one augmentation on or off changes no draws of another, and torch's global
    generators are not used.

    ``classes`` is K, the length of the targets that mixing makes from labels.
    """

    classes: int
    color: ColorJitter | None = None
    rand_augment: RandAugment | None = None
    augmix: AugMix | None = None
    custom: CustomAugmentation | None = None
    erase: Erase | None = None
    mix: Mix | None = None

    def __call__(self, batch: Batch, seed: int, place: Place | None = None) -> Batch:
        """Return the augmented batch, with ``targets`` float32 [B,K] if clips are mixed, or ``batch`` if all is off.

        ``seed`` (not negative) decides everything that is random, for all clips of a step, of which the batch holds
        those at ``place``; None: all. So the result does not depend on how the step is divided.
        """
        clips = batch.clips
        place = place or Place.of(len(clips))
        for name in ("color", "rand_augment", "augmix", "custom", "erase"):
            change: ColorJitter | RandAugment | AugMix | CustomAugmentation | Erase | None = getattr(self, name)
            if change is not None:
                clips = change(clips, _stream(name, seed), place)
        if clips is not batch.clips:
            batch = dataclasses.replace(batch, clips=clips)
        return batch if self.mix is None else self._mixed(batch, self.mix, _stream("mix", seed), place)

    def _mixed(self, batch: Batch, mix: Mix, rng: np.random.Generator, place: Place) -> Batch:
        targets = batch.targets
        if targets is None:
            targets = torch.nn.functional.one_hot(batch.labels, self.classes).float()
        draws = mix.draw(torch.Size((place.whole, *batch.clips.shape[1:])), rng, place.group).of(place)
        return dataclasses.replace(batch, clips=mix_clips(batch.clips, draws), targets=mix_targets(targets, draws))


def _stream(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng((_STREAMS[name], seed))
