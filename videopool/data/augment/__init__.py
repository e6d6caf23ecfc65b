"""Augmentation of batches of uint8 clips [B,3,T,H,W] on their device; all frames of a clip are changed alike.

Cropping and mirroring are the loader's work (``videopool.data.sampling``): it need not read what is cut off.
"""

from videopool.data.augment.augmentation import Augmentation
from videopool.data.augment.augmix import AugMix
from videopool.data.augment.color import ColorJitter
from videopool.data.augment.custom import CustomAugmentation
from videopool.data.augment.erase import Erase
from videopool.data.augment.mix import Mix
from videopool.data.augment.rand_augment import OPERATIONS, RandAugment

__all__ = [
    "OPERATIONS",
    "AugMix",
    "Augmentation",
    "ColorJitter",
    "CustomAugmentation",
    "Erase",
    "Mix",
    "RandAugment",
]
