"""Every key of a configuration: its type, default, range and meaning.

The meanings are data, so that ``videopool train --explain KEY``, docs/configuration.md and configs/schema.json show the
same text. ``load`` rejects values of the wrong type, and these classes reject values out of range. A loaded
configuration does not change.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from videopool.config.augment import Augment
from videopool.config.model import Model
from videopool.config.optim import Optim
from videopool.config.section import Section, key, require, section
from videopool.ranges import (
    AT_LEAST_ONE,
    AT_LEAST_ZERO,
    BELOW_ONE,
    FRACTION,
    FRAME_RATE,
    HOP,
    POSITIVE,
    POSITIVE_FRACTION,
    ZERO_IS_OFF,
    Range,
    check_deinterlace,
    check_divisor,
    check_interval,
    check_window,
)


@dataclasses.dataclass(frozen=True)
class Data(Section):
    """Where the videos are and how they are read. An image is a video of one frame."""

    root: str = key("", "Folder that relative paths start from. Empty: the folder of each list.")
    train: str = key(
        "train", "Training videos: a folder of class folders, a list or a manifest; absolute, or relative to data.root."
    )
    test: str = key("test", "Videos for validation and evaluation, given as for train.")
    decoder: Literal["auto", "decord", "pyav", "torchcodec"] = key(
        "auto", "Video decoder. auto is PyAV, the fastest on every file measured. Pillow always reads images."
    )
    workers: int = key(2, "Loader processes per training process; 0 loads in the training process.", AT_LEAST_ZERO)
    decode_timeout: float = key(60.0, "Seconds after which decoding a clip is abandoned.", POSITIVE)
    folder_fps: float = key(30.0, "Frame rate of videos that are given as folders of frames.", POSITIVE)
    square_pixels: bool = key(
        False,
        "Resize videos with non-square pixels (DVDs, broadcasts) to the aspect ratio that players show. Published "
        "results use the pixels as stored.",
    )
    deinterlace: bool = key(False, "Deinterlace interlaced videos (broadcasts, camcorders). Reading becomes slower.")
    max_bad_fraction: float = key(
        0.1, "Training stops if more than this fraction of the videos cannot be read.", FRACTION
    )

    def check(self) -> None:
        for name in ("train", "test"):
            require(bool(getattr(self, name)), f"{name} is empty; give a folder or a list", name)
        check_deinterlace(self.deinterlace, self.decoder)


@dataclasses.dataclass(frozen=True)
class Clip(Section):
    """What a clip is: ``frames`` frames of a video, scaled, cropped and normalized."""

    frames: int = key(16, "Number of frames of a clip.", AT_LEAST_ONE)
    sampling: Literal["random", "dense", "segments"] = key(
        "random",
        "How the frames of a clip are chosen (docs/sampling.md). random: stride apart, from a random start; dense: "
        "evenly spread over window seconds; segments: one frame from each of as many equal parts of the video (TSN).",
    )
    stride: int = key(
        4,
        "With sampling=random: step between consecutive frames of a clip, in frames at the rate fps.",
        AT_LEAST_ONE,
    )
    fps: float = key(0.0, "With sampling=random: frame rate in which stride is counted.", FRAME_RATE)
    window: float = key(0.0, "With sampling=dense: length of a clip in seconds.", AT_LEAST_ZERO)
    short: Literal["hold", "loop", "error"] = key(
        "hold",
        "What to do if a video is shorter than a clip: repeat its last frame (hold), start it again (loop), or treat "
        "it as unreadable (error).",
    )
    scale: tuple[int, int] = key(
        (128, 160), "In training, the shorter side is scaled to a random number of pixels in this range."
    )
    crop: int = key(112, "Side of the square crop in pixels.", Range(8))
    area: tuple[float, ...] = key(
        (),
        "[low, high]: train on a random region with this fraction of the frame's area, resized to crop x crop. "
        "ImageNet recipes use [0.08, 1]. scale then applies to evaluation only. []: off.",
    )
    ratio: tuple[float, float] = key(
        (0.75, 4 / 3), "With area: range of the aspect ratio (width / height) of the region.", POSITIVE
    )
    flip: bool = key(
        True, "Mirror each training clip with probability 1/2. Turn this off if classes differ by left and right."
    )
    mean: tuple[float, float, float] = key(
        (0.45, 0.45, 0.45), "Mean of each channel for normalization, for pixel values from 0 to 1."
    )
    std: tuple[float, float, float] = key(
        (0.225, 0.225, 0.225), "Standard deviation of each channel for normalization.", POSITIVE
    )

    def check(self) -> None:
        check_window(self.window, self.sampling)
        check_interval("scale", self.scale, Range(self.crop, note="the crop"))
        if self.area:
            check_interval("area", self.area, POSITIVE_FRACTION)
        check_interval("ratio", self.ratio, POSITIVE)


DEFAULT_BATCH = 8  # clips of a process


@dataclasses.dataclass(frozen=True)
class Train(Section):
    """The training loop."""

    epochs: int = key(30, "Number of epochs.", AT_LEAST_ONE)
    batch: int = key(
        0,
        "Clips of a step, over all processes. The result does not depend on how many processes share them.",
        Range(0, note="0: batch_per_device, or else 8, times the number of processes"),
    )
    batch_per_device: int = key(
        0,
        "Most clips that a process computes at a time. If its share of the batch is larger, it accumulates the "
        "gradient over several forward passes.",
        Range(0, note="0: its whole share"),
    )
    norm_batch: int = key(
        0,
        "Number of clips that share batch-norm statistics, and that mixup and CutMix mix with each other. Set it for "
        "equal results on any number of processes.",
        Range(0, note="0: those of a forward pass"),
    )
    lr_scales_with_batch: int = key(
        0, "The batch that optim.lr is meant for: the learning rate is optim.lr * batch / this number.", ZERO_IS_OFF
    )
    clips_per_video: int = key(
        1,
        "Clips of each video in a batch (repeated augmentation). The steps of an epoch are multiplied by this number.",
        AT_LEAST_ONE,
    )
    sampler: Literal["uniform", "balanced", "weighted"] = key(
        "uniform",
        "uniform: each video once per epoch; balanced: each class equally often; weighted: as train.weights says.",
    )
    weights: str = key(
        "", "With sampler=weighted: a text file with one number per video of data.train; relative to data.root."
    )
    seed: int = key(0, "Seed of the initial weights, the order of videos, crops and augmentation.", AT_LEAST_ZERO)
    device: Literal["auto", "cpu", "cuda"] = key("auto", "Training device. auto: cuda if a GPU is available.")
    precision: Literal["float32", "bfloat16", "float16"] = key(
        "float32", "bfloat16 and float16 use autocast, float16 with a scaled loss."
    )
    compile: Literal["none", "require", "try"] = key(
        "none", "Compile the network with torch.compile. require: an error if that fails; try: train without it then."
    )
    resume: str = key(
        "auto",
        "auto: resume from out/checkpoints/last.pt or, if it is damaged or missing, from the newest checkpoint there "
        "that can be read; none: do not resume; or the path of a checkpoint.",
    )
    log_every: int = key(10, "Steps between log entries (log.jsonl, trackers).", AT_LEAST_ONE)
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = key(
        ("tensorboard",),
        "Where values are shown, in addition to log.jsonl. wandb (Weights & Biases) and mlflow need their packages and "
        "read their own environment variables.",
    )
    profile: int = key(0, "Steps of a torch.profiler trace, written to out/profile after 10 other steps.", ZERO_IS_OFF)
    save_every: int = key(0, "Steps between checkpoints.", Range(0, note="0: at the end of every epoch"))
    evaluate_every: int = key(1, "Epochs between validations.", Range(0, note="0: only at the end"))
    keep: int = key(3, "Number of step-*.pt checkpoints to keep, in addition to last.pt and best.pt.", AT_LEAST_ONE)
    sharding: Literal["none", "full"] = key(
        "none",
        "full: divide weights, gradients and optimizer state among the processes (FSDP2), for networks that do not fit "
        "on one GPU.",
    )
    keep_every_hours: float = key(
        0.0, "Also keep one checkpoint for each period of this many hours of training, as hours-*.pt.", ZERO_IS_OFF
    )
    timeout: float = key(
        600.0,
        "With several processes: seconds without progress after which the run ends and names the process that hangs. "
        "It must exceed the longest step, which may compile (5 minutes) or load from a slow disk.",
        Range(1),
    )
    start_timeout: float = key(60.0, "With several processes: seconds to wait at the start for all of them.", Range(1))
    multigrid: Literal["none", "short", "long", "both"] = key(
        "none",
        "Multigrid training (docs/multigrid.md): steps with more and smaller clips. epochs and optim.milestones are "
        "those of the training that it replaces.",
    )
    multigrid_epochs: float = key(1.5, "With multigrid: factor on epochs and optim.milestones.", POSITIVE)
    sync_batchnorm: bool = key(True, "With norm_batch=0: compute batch-norm statistics over all processes (CUDA only).")
    ema: float = key(
        0.0,
        "Exponential moving average of the weights with this decay, such as 0.9999 (0: off). Validation, best.pt, "
        "evaluate, predict and export use the averaged weights.",
        BELOW_ONE,
    )
    ema_warmup: bool = key(True, "With ema: the decay after n steps is min(ema, (1 + n) / (10 + n)).")
    swa_start: int = key(
        0,
        "Stochastic weight averaging: the mean of the weights at the end of this epoch, counted from 1, and of each "
        "later one. It is used as with ema, needs precise_norm, and fits a constant learning rate "
        "(optim.cooldown_epochs).",
        ZERO_IS_OFF,
    )
    precise_norm: int = key(
        0,
        "Precise batch normalization: before each validation, replace the running statistics by those of this many "
        "batches of training clips, at most an epoch. The weights stay the same.",
        ZERO_IS_OFF,
    )
    patience: int = key(
        0, "Early stopping: training ends after this many validations in a row without a better score.", ZERO_IS_OFF
    )
    distill: str = key(
        "", "Distillation: a checkpoint of videopool, whose network (the teacher) guides this one. Same classes."
    )
    distill_weight: float = key(
        0.5,
        "With distill: the loss is (1 - weight) * the loss with the labels + weight * that with the teacher.",
        FRACTION,
    )
    distill_temperature: float = key(4.0, "With distill: temperature of both networks' scores.", POSITIVE)

    def check(self) -> None:
        if self.batch:
            check_divisor("clips_per_video", self.clips_per_video, "batch", self.batch)
        require(len({*self.trackers}) == len(self.trackers), f"trackers={[*self.trackers]} has one twice", "trackers")
        require(
            not (self.ema and self.swa_start),
            f"swa_start={self.swa_start} and ema={self.ema:g} are two averages; set one to 0",
            "swa_start",
        )
        require(
            not self.swa_start or bool(self.precise_norm),
            f"swa_start={self.swa_start} needs precise_norm, such as 200, because averaged weights have no "
            "batch-norm statistics",
            "swa_start",
        )
        weighted = self.sampler == "weighted"
        require(bool(self.weights) or not weighted, "weights is empty; sampler=weighted needs a file", "weights")
        require(
            weighted or not self.weights, f"weights is for sampler=weighted, not {self.sampler}; remove it", "weights"
        )


@dataclasses.dataclass(frozen=True)
class Evaluate(Section):
    """The views of each video in ``videopool evaluate``. Validation during training uses one centered clip and crop."""

    clips: int = key(
        10,
        "Number of clips, spread evenly over each video.",
        Range(0, note="0: windows that slide over the whole video"),
    )
    hop: float = key(0.0, "With clips=0: seconds from one window to the next.", HOP)
    crops: Literal[1, 3] = key(3, "Crops of each clip. 1: the center; 3: start, center and end of the longer side.")
    scale: int = key(
        0, "Number of pixels to which the shorter side is scaled.", Range(0, note="0: the smallest of clip.scale")
    )
    crop: int = key(0, "Side of the square crop in pixels.", Range(0, note="0: clip.crop"))
    batch: int = key(0, "Clips per forward pass.", Range(0, note="0: train.batch_per_device, or else train.batch"))
    allow_missing: bool = key(False, "Report metrics even if some videos could not be scored.")
    weights: Literal["averaged", "raw"] = key(
        "averaged",
        "averaged: the averaged weights of a checkpoint, if it has them (train.ema, train.swa_start); raw: the weights "
        "without averaging.",
    )
    metrics: tuple[str, ...] = key((), "Custom metrics, each as package.module.function (docs/extending.md).")
    resamples: int = key(
        2000, "Resamples of the videos for intervals without a formula.", Range(0, note="0: no such intervals")
    )

    def check(self) -> None:
        require(
            not self.hop or not self.clips,
            f"hop={self.hop:g} needs clips=0 (it is {self.clips}); remove hop or set clips=0",
            "hop",
        )


@dataclasses.dataclass(frozen=True)
class Config(Section):
    """A whole run."""

    out: str = key("runs/default", "Folder of the run.")
    data: Data = section(Data)
    clip: Clip = section(Clip)
    augment: Augment = section(Augment)
    model: Model = section(Model)
    optim: Optim = section(Optim)
    train: Train = section(Train)
    evaluate: Evaluate = section(Evaluate)

    def check(self) -> None:
        require(bool(self.out.strip()), "out is empty; give the folder of the run", "out")
        require(
            self.test_crop <= self.test_scale,
            f"evaluate.crop={self.test_crop} does not fit into a shorter side of {self.test_scale} pixels; raise "
            "evaluate.scale or lower evaluate.crop",
        )
        require(
            self.evaluate.clips > 0 or self.clip.sampling != "segments",
            "evaluate.clips=0 slides windows over a video, but clip.sampling=segments takes frames from all of it; set "
            "evaluate.clips to 1 or more",
        )
        require(
            not (self.augment.mixup or self.augment.cutmix) or 1 not in (self.train.batch_per_device, self.train.batch),
            "augment.mixup and augment.cutmix mix the clips of a forward pass, which has 1; raise train.batch or "
            "train.batch_per_device, or set both to 0",
        )

        _check_multigrid(self)

    @property
    def test_scale(self) -> int:
        """Shorter side of test frames in pixels."""
        return self.evaluate.scale or max(self.clip.scale[0], self.evaluate.crop)

    @property
    def test_crop(self) -> int:
        """Side of test crops in pixels."""
        return self.evaluate.crop or self.clip.crop

    @property
    def test_batch(self) -> int:
        """Clips per forward pass of evaluation."""
        return self.evaluate.batch or self.device_batch

    @property
    def device_batch(self) -> int:
        """Most clips that a process computes at a time."""
        return self.train.batch_per_device or self.train.batch or DEFAULT_BATCH


def _check_multigrid(config: Config) -> None:
    kind, frames = config.train.multigrid, config.clip.frames
    if kind in ("long", "both"):
        require(
            config.optim.schedule == "multistep",
            f"train.multigrid={kind} needs optim.schedule=multistep (it is {config.optim.schedule}): its phases follow "
            "optim.milestones; set both, or use train.multigrid=short",
        )
        require(
            frames % 4 == 0,
            f"train.multigrid={kind} needs a multiple of 4 as clip.frames (it is {frames}); change it, or use "
            "train.multigrid=short",
        )
