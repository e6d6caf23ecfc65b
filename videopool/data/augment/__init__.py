"""Augmentation of batches of uint8 clips [B,3,T,H,W] on their device; all frames of a clip are changed alike.

Cropping and mirroring are the loader's work (``videopool.data.sampling``): it need not read what is cut off.
"""

from videopool.data.augment.augmentation import Augmentation as Augmentation
from videopool.data.augment.augmix import AugMix as AugMix
from videopool.data.augment.color import ColorJitter as ColorJitter
from videopool.data.augment.custom import CustomAugmentation as CustomAugmentation
from videopool.data.augment.erase import Erase as Erase
from videopool.data.augment.mix import Mix as Mix
from videopool.data.augment.rand_augment import OPERATIONS as OPERATIONS
from videopool.data.augment.rand_augment import RandAugment as RandAugment
