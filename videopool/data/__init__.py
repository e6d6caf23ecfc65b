"""From video files to batches: lists, sampling, decoding, augmentation, data sets and loaders.

A name is imported when it is first used, so ``import videopool.data`` does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videopool.lazy import lazy_names

if TYPE_CHECKING:
    from videopool.data.augment import Augmentation as Augmentation
    from videopool.data.augment import AugMix as AugMix
    from videopool.data.augment import ColorJitter as ColorJitter
    from videopool.data.augment import CustomAugmentation as CustomAugmentation
    from videopool.data.augment import Erase as Erase
    from videopool.data.augment import Mix as Mix
    from videopool.data.augment import RandAugment as RandAugment
    from videopool.data.clip_times import TooShortError as TooShortError
    from videopool.data.decoding.decode import OpenVideo as OpenVideo
    from videopool.data.decoding.decode import Reading as Reading
    from videopool.data.decoding.decode import open_video as open_video
    from videopool.data.decoding.reader import DecodeError as DecodeError
    from videopool.data.label_sets import LabelSets as LabelSets
    from videopool.data.label_sets import no_flip_labels as no_flip_labels
    from videopool.data.lists.formats.classes import read_classes as read_classes
    from videopool.data.lists.formats.classes import write_classes as write_classes
    from videopool.data.lists.formats.entries import ListEntry as ListEntry
    from videopool.data.lists.manifest import Manifest as Manifest
    from videopool.data.lists.manifest import is_manifest as is_manifest
    from videopool.data.lists.manifest import read_manifest as read_manifest
    from videopool.data.lists.manifest import write_manifest as write_manifest
    from videopool.data.lists.records import VideoList as VideoList
    from videopool.data.lists.records import read_videos as read_videos
    from videopool.data.lists.table import VideoTable as VideoTable
    from videopool.data.loading.dataset import TestVideos as TestVideos
    from videopool.data.loading.dataset import TrainClips as TrainClips
    from videopool.data.loading.loader import TestLoader as TestLoader
    from videopool.data.loading.loader import TrainLoader as TrainLoader
    from videopool.data.loading.loader import WindowLoader as WindowLoader
    from videopool.data.loading.prefetch import on_device as on_device
    from videopool.data.loading.windows import WindowVideos as WindowVideos
    from videopool.data.order import balanced_order as balanced_order
    from videopool.data.order import choose_order as choose_order
    from videopool.data.order import uniform_order as uniform_order
    from videopool.data.order import weighted_order as weighted_order
    from videopool.data.samples import read_clips as read_clips
    from videopool.data.samples import read_images as read_images
    from videopool.data.sampling import ClipSampling as ClipSampling
    from videopool.data.synthetic import write_motion_videos as write_motion_videos
    from videopool.data.transforms import Normalize as Normalize
    from videopool.errors import InputError as InputError
    from videopool.types import BadVideo as BadVideo
    from videopool.types import Batch as Batch
    from videopool.types import Clip as Clip
    from videopool.types import VideoRecord as VideoRecord
    from videopool.types import View as View

__getattr__, __dir__, __all__ = lazy_names(__name__)
