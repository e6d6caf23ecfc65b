"""Every key of a configuration, its type, default and meaning. This file is the documentation of the keys.

A value that a field's type does not admit is refused by ``load``; a value outside its range is refused here,
by the section that owns it. Nothing changes a configuration after it was loaded.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

Plain = dict[str, Any]
Pooling = Literal[
    "soft", "max", "avg", "lp", "stochastic", "s3", "mixed", "gated", "lip", "dpp", "adapool", "edscw", "em", "blur",
    "none",
]  # fmt: skip


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError`` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


@dataclasses.dataclass(frozen=True)
class Data:
    """Where the videos are and how they are read. An image is a video of one frame."""

    root: str = ""  # folder that relative paths start from; "" for the folder of each list
    train: str = "train"  # class-directory tree or list file, relative to root (or absolute)
    test: str = "test"
    decoder: Literal["auto", "decord", "pyav", "torchcodec"] = "auto"  # of videos; images are read by Pillow
    workers: int = 2  # loader processes per training process; 0 loads in the training process
    decode_timeout: float = 60.0  # seconds after which one decode is given up
    folder_fps: float = 30.0  # rate of videos that are folders of frames, which do not say what they were taken at
    square_pixels: bool = False  # show frames as wide as players do, where pixels are not square (DVDs, broadcasts);
    # other toolkits, and so published figures, take the pixels as they are stored
    deinterlace: bool = False  # turn interlaced frames (broadcasts, camcorders) into progressive ones; slower there
    max_bad_fraction: float = 0.1  # training stops when more than this part of the videos failed

    def __post_init__(self) -> None:
        for name in ("train", "test"):
            require(bool(getattr(self, name)), f"{name}: expected a folder or a list, got an empty text")
        require(self.workers >= 0, f"workers: expected 0 or more, got {self.workers}")
        require(self.decode_timeout > 0, f"decode_timeout: expected seconds above 0, got {self.decode_timeout}")
        require(self.folder_fps > 0, f"folder_fps: expected frames a second, got {self.folder_fps}")
        require(
            not self.deinterlace or self.decoder in ("auto", "pyav"),
            f"deinterlace: needs decoder: auto or pyav, not {self.decoder}",
        )
        require(0 <= self.max_bad_fraction <= 1, f"max_bad_fraction: expected 0 to 1, got {self.max_bad_fraction}")


@dataclasses.dataclass(frozen=True)
class Clip:
    """What a clip is: ``frames`` frames of a video, scaled, cropped and normalised."""

    frames: int = 16
    sampling: Literal["random", "dense", "segments"] = "random"  # frames ``stride`` apart at ``fps``, spread over
    # ``window`` seconds, or one of each of ``frames`` equal parts of the video (TSN); docs/sampling.md
    stride: int = 4  # random
    fps: float = 0.0  # random; 0: the video's own
    window: float = 0.0  # dense: seconds
    short: Literal["hold", "loop", "error"] = "hold"  # a video shorter than the clip: its last frame is held, it begins
    # again, or it counts as one that cannot be read
    scale: tuple[int, int] = (128, 160)  # short side in training, drawn from this range (pixels)
    crop: int = 112  # side of the square crop (pixels)
    area: tuple[float, ...] = ()  # [low, high]: train on a random part of the frame of this area (parts of the whole),
    # resized to crop x crop, as ImageNet recipes do with [0.08, 1]; scale is then for testing only. []: off
    ratio: tuple[float, float] = (0.75, 4 / 3)  # its width over height, drawn from this range
    flip: bool = True  # mirror half of the training clips; off where left and right are classes
    mean: tuple[float, float, float] = (0.45, 0.45, 0.45)  # per channel, of values in 0..1
    std: tuple[float, float, float] = (0.225, 0.225, 0.225)

    def __post_init__(self) -> None:
        require(self.frames >= 1, f"frames: expected 1 or more, got {self.frames}")
        require(self.stride >= 1, f"stride: expected 1 or more, got {self.stride}")
        require(self.fps >= 0, f"fps: expected 0 (the video's own) or more, got {self.fps}")
        require(self.window >= 0, f"window: expected seconds above 0 (dense) or 0, got {self.window}")
        dense = self.sampling == "dense"
        require(self.window > 0 or not dense, "window: dense sampling needs the seconds that a clip is spread over")
        require(self.window == 0 or dense, f"window: is for sampling: dense, not {self.sampling}; remove it")
        low, high = self.scale
        require(
            self.crop <= low <= high,
            f"scale: expected crop <= smallest <= largest, got crop {self.crop}, scale [{low}, {high}]",
        )
        inside = len(self.area) == 2 and 0 < self.area[0] <= self.area[1] <= 1
        require(not self.area or inside, f"area: expected [] or 0 < smallest <= largest <= 1, got {list(self.area)}")
        require(0 < self.ratio[0] <= self.ratio[1], f"ratio: expected 0 < smallest <= largest, got {list(self.ratio)}")
        require(self.crop >= 8, f"crop: expected 8 pixels or more, got {self.crop}")
        require(min(self.std) > 0, f"std: expected values above 0, got {list(self.std)}")


@dataclasses.dataclass(frozen=True)
class Colour:
    """Colour jitter, in the ranges of torchvision's ColorJitter; 0: off. Each clip gets colours of its own."""

    brightness: float = 0.0  # b: factor drawn from max(0, 1 - b) to 1 + b
    contrast: float = 0.0  # the same
    saturation: float = 0.0  # the same
    hue: float = 0.0  # h: turned by -h to h whole turns, at most 0.5

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            require(getattr(self, name) >= 0, f"{name}: expected 0 (off) or more, got {getattr(self, name)}")
        require(0 <= self.hue <= 0.5, f"hue: expected 0 (off) to 0.5, got {self.hue}")


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """RandAugment (Cubuk et al. 2020): a few random operations on each clip, all of one magnitude."""

    operations: int = 0  # for each clip; 0: off
    magnitude: float = 7.0  # 0 to 10
    deviation: float = 0.5  # each operation's magnitude is drawn about it, with this standard deviation

    def __post_init__(self) -> None:
        require(self.operations >= 0, f"operations: expected 0 (off) or more, got {self.operations}")
        require(0 <= self.magnitude <= 10, f"magnitude: expected 0 to 10, got {self.magnitude}")
        require(self.deviation >= 0, f"deviation: expected 0 or more, got {self.deviation}")


@dataclasses.dataclass(frozen=True)
class AugMix:
    """AugMix (Hendrycks et al. 2020): each clip is mixed with chains of mild operations on it."""

    chains: int = 0  # 3 in the paper; 0: off
    depth: int = 3  # operations of a chain at most
    magnitude: float = 3.0  # each operation's is drawn from 0.1 to this, 10 at most
    alpha: float = 1.0  # of Beta(alpha, alpha), the part of all chains, and of Dirichlet, that of each

    def __post_init__(self) -> None:
        require(self.chains >= 0, f"chains: expected 0 (off) or more, got {self.chains}")
        require(self.depth >= 1, f"depth: expected 1 or more, got {self.depth}")
        require(0.1 <= self.magnitude <= 10, f"magnitude: expected 0.1 to 10, got {self.magnitude}")
        require(self.alpha > 0, f"alpha: expected a number above 0, got {self.alpha}")


@dataclasses.dataclass(frozen=True)
class Augment:
    """What training changes in its clips beside cutting and mirroring them (``clip``); docs/augmentation.md."""

    colour: Colour = dataclasses.field(default_factory=Colour)
    rand_augment: RandAugment = dataclasses.field(default_factory=RandAugment)
    augmix: AugMix = dataclasses.field(default_factory=AugMix)
    erase: float = 0.0  # random erasing: chance that a box of a clip is covered
    mixup: float = 0.0  # alpha of Beta(alpha, alpha), of which weights are drawn; 0: off
    cutmix: float = 0.0  # the same
    mix_switch: float = 0.5  # chance of cutmix for a clip, where both are on
    no_flip: tuple[str, ...] = ()  # names of classes that a mirrored clip does not belong to; they are never mirrored

    def __post_init__(self) -> None:
        for name in ("erase", "mix_switch"):
            require(0 <= getattr(self, name) <= 1, f"{name}: expected a chance of 0 to 1, got {getattr(self, name)}")
        for name in ("mixup", "cutmix"):
            require(getattr(self, name) >= 0, f"{name}: expected 0 (off) or more, got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class Model:
    """The network: a name of ``videopool.models.MODELS``, or ``target`` for one of another package."""

    name: str = "c3d"
    target: str = ""  # package.module.function that takes (classes=, frames=, crop=, **arguments); name is ignored
    takes: Literal["auto", "clips", "images"] = "auto"  # what target's network takes: clips [B,3,T,H,W], or images
    # [B,3,H,W] (clip.frames: 1); auto: images where clip.frames is 1 and it has 2D convolutions but no 3D ones
    pooling: Pooling = "soft"  # "none": the published architecture
    pooling_arguments: Plain = dataclasses.field(default_factory=dict)  # the method's own: {beta: 2.0} of soft
    pooling_sites: tuple[str, ...] = ()  # kinds (pool, head, shortcut, stride); (): the model's own choice
    dropout: float = 0.5
    arguments: Plain = dataclasses.field(default_factory=dict)  # further arguments of the builder: depth, width, ...
    pretrained: str = ""  # checkpoint or safetensors file whose weights are loaded where they fit

    def __post_init__(self) -> None:
        require(0 <= self.dropout < 1, f"dropout: expected 0 <= dropout < 1, got {self.dropout}")
        own = "takes: is for a model.target alone, every network of model.name takes clips; remove it or set auto"
        require(self.takes == "auto" or bool(self.target), own)


@dataclasses.dataclass(frozen=True)
class Optim:
    """Optimizer, learning-rate schedule and loss."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.1  # the peak, after warm-up, for the whole (global) batch
    weight_decay: float = 1e-4  # not applied to biases and normalisation parameters
    momentum: float = 0.9  # sgd (Nesterov)
    betas: tuple[float, float] = (0.9, 0.999)  # adamw
    schedule: Literal["cosine", "multistep", "constant"] = "cosine"
    warmup_epochs: float = 0.0  # linear from warmup_start * lr
    warmup_start: float = 0.01
    final: float = 0.0  # cosine ends at final * lr
    milestones: tuple[float, ...] = ()  # multistep: epochs at which lr is multiplied by gamma
    gamma: float = 0.1
    label_smoothing: float = 0.0
    clip_norm: float = 0.0  # largest L2 norm of the whole gradient; 0: no clipping

    def __post_init__(self) -> None:
        require(self.lr > 0, f"lr: expected a value above 0, got {self.lr}")
        require(self.weight_decay >= 0, f"weight_decay: expected 0 or more, got {self.weight_decay}")
        require(0 <= self.momentum < 1, f"momentum: expected 0 <= momentum < 1, got {self.momentum}")
        for name in ("betas", "gamma", "final", "warmup_start"):
            values = getattr(self, name)
            inside = all(0 <= value <= 1 for value in (values if isinstance(values, tuple) else (values,)))
            require(inside, f"{name}: expected 0 to 1, got {values}")
        require(max(self.betas) < 1, f"betas: expected values below 1, got {list(self.betas)}")
        require(self.warmup_epochs >= 0, f"warmup_epochs: expected 0 or more, got {self.warmup_epochs}")
        require(self.clip_norm >= 0, f"clip_norm: expected 0 (off) or more, got {self.clip_norm}")
        require(0 <= self.label_smoothing < 1, f"label_smoothing: expected 0 to 1, got {self.label_smoothing}")
        increasing = list(self.milestones) == sorted(set(self.milestones))
        require(increasing, f"milestones: expected increasing epochs, got {list(self.milestones)}")
        require(self.schedule != "multistep" or bool(self.milestones), "milestones: multistep needs at least one epoch")


@dataclasses.dataclass(frozen=True)
class Train:
    """The training loop."""

    epochs: int = 30
    batch_per_device: int = 8  # clips per process and step
    clips_per_video: int = 1  # in a batch (repeated augmentation); an epoch has so many times the steps
    sampler: Literal["uniform", "balanced", "weighted"] = "uniform"  # each video once an epoch; each class equally
    # often; or each video by its weight
    weights: str = ""  # weighted: a file with a number a line for each video of data.train, relative to data.root
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"  # bfloat16: autocast
    resume: str = "auto"  # auto: go on from out/checkpoints/last.pt where there is one; none; or a checkpoint's path
    log_every: int = 10  # steps
    save_every: int = 0  # steps; 0: at the end of every epoch
    evaluate_every: int = 1  # epochs; 0: only at the end
    keep: int = 3  # step-*.pt files kept, beside last.pt and best.pt
    sync_batchnorm: bool = True  # across processes, on devices that have it (CUDA)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_per_device", "clips_per_video", "log_every", "keep"):
            require(getattr(self, name) >= 1, f"{name}: expected 1 or more, got {getattr(self, name)}")
        for name in ("save_every", "evaluate_every", "seed"):
            require(getattr(self, name) >= 0, f"{name}: expected 0 or more, got {getattr(self, name)}")
        require(
            self.batch_per_device % self.clips_per_video == 0,
            f"clips_per_video: expected a divisor of batch_per_device {self.batch_per_device}, "
            f"got {self.clips_per_video}",
        )
        weighted = self.sampler == "weighted"
        require(bool(self.weights) or not weighted, "weights: sampler: weighted needs a file with a number a video")
        require(weighted or not self.weights, f"weights: is for sampler: weighted, not {self.sampler}; remove it")


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Views per video of the final test; validation during training takes one centred clip and crop."""

    clips: int = 10  # evenly over the video's time; 0: as many as cover the whole video, in windows that slide over it
    hop: float = 0.0  # clips: 0: seconds from one window to the next; 0: the span of a clip
    crops: Literal[1, 3] = 3  # 1: centre; 3: along the longer side
    scale: int = 0  # short side (pixels); 0: the smallest of clip.scale
    crop: int = 0  # side of the crop (pixels); 0: clip.crop
    batch: int = 0  # clips per forward pass; 0: train.batch_per_device
    allow_missing: bool = False  # accept metrics although some videos could not be scored

    def __post_init__(self) -> None:
        require(self.clips >= 0, f"clips: expected 0 (sliding windows) or more, got {self.clips}")
        require(self.hop >= 0, f"hop: expected 0 (the span of a clip) or more seconds, got {self.hop}")
        require(not self.hop or not self.clips, f"hop: is for clips: 0, not {self.clips}; set hop: 0")
        for name in ("scale", "crop", "batch"):
            require(getattr(self, name) >= 0, f"{name}: expected 0 (default) or more, got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run. ``out`` is its folder."""

    out: str = "runs/default"
    data: Data = dataclasses.field(default_factory=Data)
    clip: Clip = dataclasses.field(default_factory=Clip)
    augment: Augment = dataclasses.field(default_factory=Augment)
    model: Model = dataclasses.field(default_factory=Model)
    optim: Optim = dataclasses.field(default_factory=Optim)
    train: Train = dataclasses.field(default_factory=Train)
    evaluate: Evaluate = dataclasses.field(default_factory=Evaluate)

    def __post_init__(self) -> None:
        require(bool(self.out.strip()), "out: expected the folder of the run, got an empty text")
        require(
            self.test_crop <= self.test_scale,
            f"evaluate: crop {self.test_crop} does not fit into a short side of {self.test_scale}; "
            "raise evaluate.scale or lower evaluate.crop",
        )
        require(
            self.evaluate.clips > 0 or self.clip.sampling != "segments",
            "evaluate: clips: 0 slides windows over a video, but clip.sampling: segments takes frames of all of it; "
            "set evaluate.clips to 1 or more",
        )
        mixed = bool(self.augment.mixup or self.augment.cutmix)
        require(
            not mixed or self.train.batch_per_device > 1,
            "augment: mixup and cutmix mix the clips of a batch, but train.batch_per_device is 1; raise it, or set "
            "both to 0",
        )

    @property
    def test_scale(self) -> int:
        """Short side of test frames in pixels."""
        return self.evaluate.scale or max(self.clip.scale[0], self.evaluate.crop)

    @property
    def test_crop(self) -> int:
        """Side of test crops in pixels."""
        return self.evaluate.crop or self.clip.crop

    @property
    def test_batch(self) -> int:
        """Clips per forward pass of evaluation."""
        return self.evaluate.batch or self.train.batch_per_device
