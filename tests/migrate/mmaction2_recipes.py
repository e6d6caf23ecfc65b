"""The recipes of mmaction2 for Kinetics with networks that exist here, as facts: keys that matter to training.

From configs/recognition/ at commit 4d6c934. A recipe is a file name and what differs from the base of its family.
"""

from __future__ import annotations

import copy
from typing import Any

Values = dict[str, Any]

_SLOW_STEM = {"conv1_kernel": (1, 7, 7), "conv1_stride_t": 1, "pool1_stride_t": 1, "inflate": (0, 0, 1, 1)}
_FAST_STEM = {"base_channels": 8, "conv1_kernel": (5, 7, 7), "conv1_stride_t": 1, "pool1_stride_t": 1}
BACKBONES: dict[str, Values] = {
    "slowfast": {
        "type": "ResNet3dSlowFast",
        "resample_rate": 8,
        "speed_ratio": 8,
        "channel_ratio": 8,
        "slow_pathway": {"type": "resnet3d", "depth": 50, "lateral": True, "dilations": (1, 1, 1, 1), **_SLOW_STEM},
        "fast_pathway": {"type": "resnet3d", "depth": 50, "lateral": False, **_FAST_STEM},
    },
    "slow": {"type": "ResNet3dSlowOnly", "depth": 50, "lateral": False, **_SLOW_STEM},
    "r2plus1d": {
        "type": "ResNet2Plus1d",
        "depth": 34,
        "pretrained2d": False,
        "conv_cfg": {"type": "Conv2plus1d"},
        "norm_cfg": {"type": "SyncBN", "eps": 1e-3},
        "conv1_kernel": (3, 7, 7),
        "temporal_strides": (1, 2, 2, 2),
        "zero_init_residual": False,
    },
    "x3d": {"type": "X3D", "gamma_w": 1, "gamma_b": 2.25, "gamma_d": 2.2},
    "c2d": {"type": "C2D", "depth": 50, "pretrained": "https://download.pytorch.org/models/resnet50-11ad3fa6.pth"},
    "frames": {
        "type": "ResNet",
        "depth": 50,
        "pretrained": "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
    },
    "csn": {
        "type": "ResNet3dCSN",
        "depth": 152,
        "pretrained2d": False,
        "with_pool2": False,
        "bottleneck_mode": "ir",
        "zero_init_residual": False,
    },
    "i3d": {
        "type": "ResNet3d",
        "depth": 50,
        "pretrained": "torchvision://resnet50",
        "conv1_kernel": (5, 7, 7),
        "conv1_stride_t": 2,
        "pool1_stride_t": 2,
        "inflate": ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)),
        "zero_init_residual": False,
    },
}
REGION = [{"type": "RandomResizedCrop"}, {"type": "Resize", "scale": (224, 224), "keep_ratio": False}]


def multi_scale(scales: tuple[float, ...]) -> list[Values]:
    """Return the crop of C2D and I3D."""
    crop = {"type": "MultiScaleCrop", "input_size": 224, "scales": scales, "random_crop": False}
    return [crop, {"type": "Resize", "scale": (224, 224), "keep_ratio": False}]


def _recipe(
    backbone: str,
    clip: tuple[int, int],
    *,
    batch: int,
    epochs: int,
    rate: float,
    schedule: list[Values],
    changes: Values | None = None,
    crop: list[Values] = REGION,
    test: int = 256,
    recognizer: str = "Recognizer3D",
    dropout: float = 0.5,
    sample: str = "SampleFrames",
) -> Values:
    network = copy.deepcopy(BACKBONES[backbone])
    for key, value in (changes or {}).items():
        network[key] = {**network[key], **value} if isinstance(value, dict) and key in network else value
    frames = {"type": sample, "clip_len": clip[0], "frame_interval": clip[1]}
    start = [{"type": "DecordInit", "io_backend": "disk"}, {**frames, "num_clips": 1}, {"type": "DecordDecode"}]
    end = [{"type": "FormatShape", "input_format": "NCTHW"}, {"type": "PackActionInputs"}]
    train = [*start, {"type": "Resize", "scale": (-1, 256)}, *crop, {"type": "Flip", "flip_ratio": 0.5}, *end]
    views = {**frames, "num_clips": 10 if sample == "SampleFrames" else 1, "test_mode": True}
    tested = [start[0], views, start[2], {"type": "Resize", "scale": (-1, test)}]
    tested += [{"type": "ThreeCrop", "crop_size": test}, *end]
    norm = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "format_shape": "NCTHW"}
    return {
        "model": {
            "type": recognizer,
            "backbone": network,
            "cls_head": {"type": "I3DHead", "num_classes": 400, "dropout_ratio": dropout, "average_clips": "prob"},
            "data_preprocessor": {"type": "ActionDataPreprocessor", **norm},
        },
        "train_dataloader": _loader(batch, "train", train),
        "val_dataloader": _loader(batch, "val", tested),
        "test_dataloader": _loader(1, "val", tested),
        "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": epochs, "val_begin": 1, "val_interval": 5},
        "optim_wrapper": {
            "optimizer": {"type": "SGD", "lr": rate, "momentum": 0.9, "weight_decay": 1e-4},
            "clip_grad": {"max_norm": 40, "norm_type": 2},
        },
        "param_scheduler": schedule,
        "default_hooks": {"logger": {"type": "LoggerHook", "interval": 20}},
    }


def _loader(batch: int, split: str, pipeline: list[Values]) -> Values:
    dataset = {"type": "VideoDataset", "ann_file": f"k400/{split}.txt", "data_prefix": {"video": f"k400/{split}"}}
    return {"batch_size": batch, "num_workers": 8, "dataset": {**dataset, "pipeline": pipeline}}


def linear(end: int) -> Values:
    """Return a warm-up."""
    return {"type": "LinearLR", "start_factor": 0.1, "by_epoch": True, "begin": 0, "end": end}


def cosine(begin: int, length: int) -> Values:
    """Return a cosine."""
    at = {"begin": begin, "end": begin + length}
    return {"type": "CosineAnnealingLR", "T_max": length, "eta_min": 0, "by_epoch": True, **at}


def steps(begin: int, end: int, milestones: list[int]) -> Values:
    """Return a step-wise schedule."""
    return {"type": "MultiStepLR", "begin": begin, "end": end, "milestones": milestones, "gamma": 0.1}


_NONLOCAL = {"non_local": ((0, 0, 0), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 0, 0))}
_ALPHA4 = {"resample_rate": 4, "speed_ratio": 4, "slow_pathway": {"fusion_kernel": 7}}
_SLOWFAST = {"batch": 8, "epochs": 256, "rate": 0.1, "schedule": [linear(34), cosine(0, 256)]}
_SLOW = {"batch": 16, "epochs": 256, "rate": 0.2, "schedule": [linear(34), cosine(34, 222)]}
_SLOW_STEPS = {"batch": 16, "epochs": 150, "schedule": [linear(10), steps(10, 150, [90, 130])]}
_IMAGES = {"pretrained": "https://download.pytorch.org/models/resnet50-11ad3fa6.pth"}
_I3D = {"batch": 8, "epochs": 100, "rate": 0.01, "schedule": [steps(0, 100, [40, 80])], "crop": multi_scale((1, 0.8))}
_C2D = {**_I3D, "batch": 32, "crop": multi_scale((1, 0.875, 0.75, 0.66)), "test": 224}
_R2PLUS1D = {"batch": 8, "epochs": 180, "rate": 0.01, "schedule": [cosine(0, 180)]}
_CSN = {"batch": 12, "epochs": 58, "rate": 5e-4, "schedule": [linear(16), steps(0, 58, [32, 48])]}
_FROZEN = {"norm_eval": True, "bn_frozen": True, "pretrained": "https://example.com/ircsn_from_scratch_ig65m.pth"}
_HEAVY = {"inflate": (1, 1, 1, 1), "conv1_stride_t": 1, "pool1_stride_t": 1, "with_pool2": True}

# Names as in mmaction2: GPUs x batch of each, frames x interval.
RECIPES: dict[str, Values] = {
    "slowfast_r50_8xb8-4x16x1": _recipe("slowfast", (32, 2), **_SLOWFAST),
    "slowfast_r50_8xb8-8x8x1": _recipe("slowfast", (32, 2), changes=_ALPHA4, **_SLOWFAST),
    "slowfast_r50_8xb8-8x8x1-steplr": _recipe(
        "slowfast",
        (32, 2),
        changes={**_ALPHA4, "slow_pathway": {"fusion_kernel": 7, "lateral_norm": True}},
        **{**_SLOWFAST, "schedule": [linear(34), steps(0, 256, [94, 154, 196])]},
    ),
    "slowfast_r101_8xb8-8x8x1": _recipe(
        "slowfast",
        (32, 2),
        changes={**_ALPHA4, "slow_pathway": {"fusion_kernel": 7, "depth": 101}, "fast_pathway": {"depth": 101}},
        **_SLOWFAST,
    ),
    "slowfast_r101-r50_32xb8-4x16x1": _recipe(
        "slowfast", (32, 2), changes={"slow_pathway": {"depth": 101}}, **{**_SLOWFAST, "rate": 0.1 * 4}
    ),
    "slowonly_r50_8xb16-4x16x1": _recipe("slow", (4, 16), **_SLOW),
    "slowonly_r50_8xb16-8x8x1": _recipe("slow", (8, 8), **_SLOW),
    "slowonly_r101_8xb16-8x8x1": _recipe(
        "slow",
        (8, 8),
        changes={"depth": 101},
        **{**_SLOW, "epochs": 196, "schedule": [linear(34), cosine(34, 162)]},
    ),
    "slowonly_imagenet-pretrained-r50_8xb16-4x16x1-steplr": _recipe(
        "slow", (4, 16), changes=_IMAGES, rate=0.02, **_SLOW_STEPS
    ),
    "slowonly_imagenet-pretrained-r50_8xb16-8x8x1-steplr": _recipe(
        "slow", (8, 8), changes=_IMAGES, rate=0.02, **_SLOW_STEPS
    ),
    "slowonly_r50-in1k-pre-nl-embedded-gaussian_8xb16-8x8x1-steplr": _recipe(
        "slow", (8, 8), changes=_IMAGES | _NONLOCAL, rate=0.01, **{**_SLOW_STEPS, "epochs": 256}
    ),
    "r2plus1d_r34_8xb8-8x8x1": _recipe("r2plus1d", (8, 8), **_R2PLUS1D),
    "r2plus1d_r34_8xb8-32x2x1": _recipe("r2plus1d", (32, 2), **_R2PLUS1D),
    "ircsn_ig65m-pretrained-r152_8xb12-32x2x1": _recipe("csn", (32, 2), changes=_FROZEN, **_CSN),
    "ircsn_ig65m-pretrained-r50-bnfrozen_8xb12-32x2x1": _recipe(
        "csn", (32, 2), changes=_FROZEN | {"depth": 50}, **_CSN
    ),
    "c2d_r50-in1k-pre_8xb32-8x8x1": _recipe("c2d", (8, 8), **_C2D),
    "c2d_r50-in1k-pre_8xb32-16x4x1": _recipe("c2d", (16, 4), **_C2D),
    "c2d_r50-in1k-pre-nopool_8xb32-8x8x1": _recipe("frames", (8, 8), recognizer="Recognizer2D", dropout=0.4, **_C2D),
    "c2d_r101-in1k-pre-nopool_8xb32-8x8x1": _recipe(
        "frames", (8, 8), recognizer="Recognizer2D", dropout=0.4, changes={"depth": 101}, **_C2D
    ),
    "i3d_imagenet-pretrained-r50_8xb8-32x2x1": _recipe("i3d", (32, 2), **_I3D),
    "i3d_imagenet-pretrained-r50_8xb8-dense-32x2x1": _recipe("i3d", (32, 2), sample="DenseSampleFrames", **_I3D),
    "i3d_imagenet-pretrained-r50-nl-gaussian_8xb8-32x2x1": _recipe("i3d", (32, 2), changes=_NONLOCAL, **_I3D),
    "i3d_imagenet-pretrained-r50-heavy_8xb8-32x2x1": _recipe("i3d", (32, 2), changes=_HEAVY, **_I3D),
}


def x3d(frames: int, rate: int, size: int) -> Values:
    """Return a recipe of X3D, which only evaluates."""
    full = _recipe("x3d", (frames, rate), batch=1, epochs=1, rate=0.1, schedule=[], test=size)
    for step in full["test_dataloader"]["dataset"]["pipeline"]:
        if step["type"] == "SampleFrames":
            step["target_fps"] = 30
    return {key: full[key] for key in ("model", "test_dataloader")}


def as_python(values: Values) -> str:
    """Return the text of a file with ``values``, in which every dictionary is a call."""
    return "\n".join(f"{name} = {_text(value)}" for name, value in values.items()) + "\n"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "dict(" + ", ".join(f"{key}={_text(each)}" for key, each in value.items()) + ")"
    if isinstance(value, (list, tuple)):
        items = ", ".join(map(_text, value))
        return f"[{items}]" if isinstance(value, list) else f"({items},)"
    return repr(value)
