"""From video files to batches: lists, sampling, decoding, augmentation, data sets and loaders.

A name is imported when it is first used, so ``import videopool.data`` does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from videopool.lazy import lazy_names

if TYPE_CHECKING:
    from videopool.data.augment import Augmentation, AugMix, ColorJitter, CustomAugmentation, Erase, Mix, RandAugment
    from videopool.data.clip_times import TooShortError
    from videopool.data.decoding.decode import OpenVideo, Reading, open_video
    from videopool.data.decoding.reader import DecodeError
    from videopool.data.lists.formats.entries import ListEntry
    from videopool.data.lists.manifest import Manifest, is_manifest, read_manifest, write_manifest
    from videopool.data.lists.records import VideoList, read_classes, read_videos, write_classes
    from videopool.data.lists.table import VideoTable
    from videopool.data.loading.dataset import TestVideos, TrainClips
    from videopool.data.loading.loader import TestLoader, TrainLoader, WindowLoader
    from videopool.data.loading.prefetch import on_device
    from videopool.data.loading.windows import WindowVideos
    from videopool.data.order import balanced_order, choose_order, uniform_order, weighted_order
    from videopool.data.samples import read_clips, read_images
    from videopool.data.sampling import ClipSampling
    from videopool.data.synthetic import write_motion_videos
    from videopool.data.targets import LabelSets, no_flip_labels
    from videopool.data.transforms import Normalize
    from videopool.errors import InputError
    from videopool.types import BadVideo, Batch, Clip, VideoRecord, View

_NAMES = {
    "videopool.data.augment": (
        "AugMix",
        "Augmentation",
        "ColorJitter",
        "CustomAugmentation",
        "Erase",
        "Mix",
        "RandAugment",
    ),
    "videopool.data.clip_times": ("TooShortError",),
    "videopool.data.decoding.decode": ("OpenVideo", "Reading", "open_video"),
    "videopool.data.decoding.reader": ("DecodeError",),
    "videopool.data.lists.formats.entries": ("ListEntry",),
    "videopool.data.lists.manifest": ("Manifest", "is_manifest", "read_manifest", "write_manifest"),
    "videopool.data.lists.records": ("VideoList", "read_classes", "read_videos", "write_classes"),
    "videopool.data.lists.table": ("VideoTable",),
    "videopool.data.loading.dataset": ("TestVideos", "TrainClips"),
    "videopool.data.loading.loader": ("TestLoader", "TrainLoader", "WindowLoader"),
    "videopool.data.loading.prefetch": ("on_device",),
    "videopool.data.loading.windows": ("WindowVideos",),
    "videopool.data.order": ("balanced_order", "choose_order", "uniform_order", "weighted_order"),
    "videopool.data.samples": ("read_clips", "read_images"),
    "videopool.data.sampling": ("ClipSampling",),
    "videopool.data.synthetic": ("write_motion_videos",),
    "videopool.data.targets": ("LabelSets", "no_flip_labels"),
    "videopool.data.transforms": ("Normalize",),
    "videopool.errors": ("InputError",),
    "videopool.types": ("BadVideo", "Batch", "Clip", "VideoRecord", "View"),
}

__all__ = [
    "AugMix",
    "Augmentation",
    "BadVideo",
    "Batch",
    "Clip",
    "ClipSampling",
    "ColorJitter",
    "CustomAugmentation",
    "DecodeError",
    "Erase",
    "InputError",
    "LabelSets",
    "ListEntry",
    "Manifest",
    "Mix",
    "Normalize",
    "OpenVideo",
    "RandAugment",
    "Reading",
    "TestLoader",
    "TestVideos",
    "TooShortError",
    "TrainClips",
    "TrainLoader",
    "VideoList",
    "VideoRecord",
    "VideoTable",
    "View",
    "WindowLoader",
    "WindowVideos",
    "balanced_order",
    "choose_order",
    "is_manifest",
    "no_flip_labels",
    "on_device",
    "open_video",
    "read_classes",
    "read_clips",
    "read_images",
    "read_manifest",
    "read_videos",
    "uniform_order",
    "weighted_order",
    "write_classes",
    "write_manifest",
    "write_motion_videos",
]

__getattr__, __dir__ = lazy_names(__name__, _NAMES)
