"""Parts of a run, each built from the configuration alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videopool import models
from videopool.config import Config
from videopool.data.augment import Augmentation, AugMix, ColorJitter, CustomAugmentation, Erase, Mix, RandAugment
from videopool.data.decoding.decode import Reading
from videopool.data.decoding.image_reader import is_image
from videopool.data.lists.records import VideoList, read_videos
from videopool.data.sampling import ClipSampling
from videopool.data.transforms import Normalize
from videopool.engine.checkpoints.files import read_weights
from videopool.engine.cluster.distributed import World
from videopool.engine.scoring.evaluation import Preprocess
from videopool.errors import InputError
from videopool.pooling import Change
from videopool.targets import import_target


def build_model(config: Config, classes: Sequence[str]) -> tuple[nn.Module, tuple[Change, ...]]:
    """Return the network of ``config.model`` on the CPU, initialized from ``train.seed``, and its pooling changes."""
    torch.manual_seed(config.train.seed)
    spec = config.model
    given: dict[str, Any] = {
        "classes": len(classes),
        "frames": config.clip.frames,
        "crop": config.clip.crop,
        "takes": spec.takes,
        "pooling": spec.pooling,
        "pooling_sites": spec.pooling_sites,
        "pooling_arguments": spec.pooling_arguments,
        "fuse_relu": True,
        "any_size": config.train.multigrid != "none",
    }
    if not spec.target:
        given["dropout"] = spec.dropout
    elif "." not in spec.target:
        raise InputError(f"target={spec.target!r} must have the form package.module.function", setting="target")
    for name in sorted(set(given) & set(spec.arguments)):
        raise InputError(f"model.arguments.{name} is set by another key (clip.{name} or model.{name}). Remove it.")
    model: Any = models.build(spec.target or spec.name, **given, **spec.arguments)
    if spec.drop_path:
        models.add_drop_path(model, spec.drop_path)
    return model, model.changes


def load_pretrained(model: nn.Module, config: Config) -> str:
    """Load the weights of ``model.pretrained`` that fit. Return a line about what was loaded; "" without the key."""
    if not config.model.pretrained:
        return ""
    path = Path(config.model.pretrained)
    weights = read_weights(path)
    weights = weights.get("averaged", weights)  # of a training with train.ema or train.swa_start
    return f"pretrained: {path}: {load_weights(model, weights, path, strict=False)}"


def load_weights(model: nn.Module, weights: dict[str, Any], path: Path, *, strict: bool) -> models.LoadReport:
    """Load ``weights``, which were read from ``path``, into ``model``.

    Args:
        strict: every weight must fit. Otherwise those that fit are loaded, and a head of another size does not change.

    Raises:
        InputError: naming ``path``, if they do not fit.
    """
    try:
        return models.load_weights(model, weights, strict=strict, new_head=not strict)
    except InputError as error:
        raise InputError(f"{path}: {error}", setting=error.setting) from error


def preprocessing(config: Config) -> Preprocess:
    """Return what turns uint8 clips [B,C,T,H,W] into normalized float32 in channels_last_3d order on their device."""
    return Normalize(config.clip.mean, config.clip.std)


def clip_sampling(config: Config) -> ClipSampling:
    """Return how clips are sampled and cropped."""
    clip = config.clip
    return ClipSampling(
        frames=clip.frames,
        method=clip.sampling,
        stride=clip.stride,
        fps=clip.fps,
        window=clip.window,
        short=clip.short,
        scale=clip.scale,
        crop=clip.crop,
        flip=clip.flip,
        area=(clip.area[0], clip.area[1]) if clip.area else None,
        ratio=clip.ratio,
        test_scale=config.test_scale,
        test_crop=config.test_crop,
    )


def reading(config: Config) -> Reading:
    """Return how videos are read."""
    data = config.data
    return Reading(data.decoder, data.folder_fps, data.square_pixels, data.deinterlace, data.decode_timeout)


def loading(config: Config, world: World) -> dict[str, Any]:
    """Return the arguments by which loaders share the videos among processes and workers."""
    pin = world.device.type == "cuda"
    return {"rank": world.rank, "world": world.size, "workers": config.data.workers, "pin": pin}


def read_list(
    config: Config, source: str, classes: tuple[str, ...] | None, *, may_lack_labels: bool = False
) -> VideoList:
    """Return the videos of ``data.train`` or ``data.test``.

    Args:
        source: a path, absolute or relative to ``data.root``.
        classes: the known classes in label order; None to take them from the list.
        may_lack_labels: allow a list without labels.

    Raises:
        InputError: for a list that cannot be read or does not fit the configuration.
    """
    videos = read_videos(source, config.data.root or None, classes)
    if videos.unlabeled and not may_lack_labels:
        raise InputError(
            f"{videos.source} has no labels, which training and validation need. Give a list with lines 'path label', "
            "or classify these videos with videopool evaluate CHECKPOINT data.test=LIST."
        )
    if config.clip.frames > 1 and all(is_image(record.path) for record in videos.records):
        raise InputError(
            f"{videos.source} lists only images, but clip.frames={config.clip.frames}. Set clip.frames=1 for images, "
            "or list folders of frames as 'folder frames label' (docs/lists.md)."
        )
    return videos


def augmentation(config: Config, classes: Sequence[str]) -> Augmentation:
    """Return the augmentation of ``config.augment``; what is off is None."""
    spec = config.augment
    color, rand = dataclasses.asdict(spec.color), dataclasses.asdict(spec.rand_augment)
    red, green, blue = (round(255 * mean, 3) for mean in config.clip.mean)  # normalization turns it into 0
    custom = None
    if spec.target:
        function = import_target(spec.target, setting="augment_target")
        custom = CustomAugmentation(function, spec.arguments, name=spec.target)
    return Augmentation(
        classes=len(classes),
        color=ColorJitter(**color) if any(color.values()) else None,
        rand_augment=RandAugment(**rand, fill=(red, green, blue)) if spec.rand_augment.operations else None,
        augmix=AugMix(**dataclasses.asdict(spec.augmix), fill=(red, green, blue)) if spec.augmix.chains else None,
        custom=custom,
        erase=Erase(spec.erase) if spec.erase else None,
        mix=Mix(spec.mixup, spec.cutmix, spec.mix_switch) if spec.mixup or spec.cutmix else None,
    )
