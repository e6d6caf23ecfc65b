"""Augmentation of whole batches of uint8 clips [B,3,T,H,W], on the device that they are on, the same for all frames of
a clip. Clips are cut and mirrored by the loader (``videopool.data.sampling``), which need not read what is cut away."""

from videopool.data.augment.augmentation import Augmentation
from videopool.data.augment.augmix import AugMix
from videopool.data.augment.color import ColorJitter
from videopool.data.augment.erase import Erase
from videopool.data.augment.mix import Mix
from videopool.data.augment.rand_augment import OPERATIONS, RandAugment

__all__ = ["OPERATIONS", "AugMix", "Augmentation", "ColorJitter", "Erase", "Mix", "RandAugment"]
