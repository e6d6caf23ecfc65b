"""Every key of a configuration: its type, default, range and meaning.

The meanings are data, so that ``videopool train --explain KEY``, docs/configuration.md and configs/schema.json show the
same text. ``load`` refuses values of the wrong type, these classes values out of range. A loaded configuration does not
change.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NewType

from videopool.errors import InputError
from videopool.ranges import AT_LEAST_ONE, AT_LEAST_ZERO, FRACTION, POSITIVE, Range

Plain = dict[str, Any]
Pooling = Literal[
    "soft", "max", "avg", "lp", "stochastic", "s3", "mixed", "gated", "lip", "dpp", "adapool", "edscw", "em", "blur",
    "none",
]  # fmt: skip
Target = NewType("Target", str)  # package.module.name
_BELOW_ONE = Range(0, 1, below=True)


def key(default: Any, about: str, allowed: Range | None = None) -> Any:
    """Return a field of a section: its default, what it means, and the range that each of its numbers must be in."""
    values: dict[str, Any] = {"default": default}
    if isinstance(default, dict):
        values = {"default_factory": default.copy}
    return dataclasses.field(**values, metadata={"about": about, "range": allowed})


def section(kind: type) -> Any:
    """Return a field that holds a section of its own."""
    return dataclasses.field(default_factory=kind)


def require(condition: bool, message: str, name: str = "") -> None:
    """Raise ``InputError`` with ``message`` about the key ``name`` unless ``condition`` holds.

    Messages begin with ``name``, to which ``load`` adds the section.
    """
    if not condition:
        raise InputError(message, setting=name)


class Section:
    """A group of keys, which checks their ranges."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            allowed = field.metadata.get("range")
            if allowed is not None:
                allowed.check(field.name, getattr(self, field.name))


@dataclasses.dataclass(frozen=True)
class Data(Section):
    """Where the videos are and how they are read. An image is a video of one frame."""

    root: str = key("", "Folder that relative paths start from; empty: the folder of each list.")
    train: str = key("train", "Folder of class folders, list or manifest; absolute, or relative to data.root.")
    test: str = key("test", "The same for validation and testing.")
    decoder: Literal["auto", "decord", "pyav", "torchcodec"] = key(
        "auto", "Decoder of videos; auto is PyAV, the fastest one on every file measured. Pillow reads images."
    )
    workers: int = key(2, "Loader processes per training process; 0 loads in the training process.", AT_LEAST_ZERO)
    decode_timeout: float = key(60.0, "Seconds after which one decode is abandoned.", POSITIVE)
    folder_fps: float = key(30.0, "Frame rate of videos that are folders of frames.", POSITIVE)
    square_pixels: bool = key(
        False,
        "Show frames in the shape that players show, where pixels are not square (DVDs, broadcasts). Published figures "
        "use the pixels as stored.",
    )
    deinterlace: bool = key(False, "Make interlaced frames (broadcasts, camcorders) progressive; slower for these.")
    max_bad_fraction: float = key(0.1, "Training stops when a larger fraction of the videos cannot be read.", FRACTION)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("train", "test"):
            require(bool(getattr(self, name)), f"{name} is empty; give a folder or a list", name)
        require(
            not self.deinterlace or self.decoder in ("auto", "pyav"),
            f"deinterlace=true needs decoder=auto or pyav, not {self.decoder}",
            "deinterlace",
        )


@dataclasses.dataclass(frozen=True)
class Clip(Section):
    """What a clip is: ``frames`` frames of a video, scaled, cropped and normalized."""

    frames: int = key(16, "Frames of a clip.", AT_LEAST_ONE)
    sampling: Literal["random", "dense", "segments"] = key(
        "random",
        "Which frames: random takes them stride apart at fps, dense spreads them over window seconds, segments takes "
        "one from each of frames equal parts of the video (TSN); docs/sampling.md.",
    )
    stride: int = key(4, "With sampling=random: frame periods from one frame to the next.", AT_LEAST_ONE)
    fps: float = key(
        0.0, "With sampling=random: the frame rate that stride counts in.", Range(0, note="0: the video's")
    )
    window: float = key(0.0, "With sampling=dense: seconds that a clip is spread over.", AT_LEAST_ZERO)
    short: Literal["hold", "loop", "error"] = key(
        "hold",
        "A video shorter than the clip: hold its last frame, loop to its start, or treat it as unreadable (error).",
    )
    scale: tuple[int, int] = key(
        (128, 160), "Pixels: in training the shorter side is scaled to a random size in this range."
    )
    crop: int = key(112, "Pixels: side of the square crop.", Range(8))
    area: tuple[float, ...] = key(
        (),
        "[low, high]: train on a random part of the frame with this fraction of its area, resized to crop x crop, as "
        "ImageNet recipes do with [0.08, 1]; scale is then for testing only. []: off.",
    )
    ratio: tuple[float, float] = key((0.75, 4 / 3), "With area: range of the part's width over its height.", POSITIVE)
    flip: bool = key(True, "Mirror half of the training clips. Turn it off where left and right are classes.")
    mean: tuple[float, float, float] = key((0.45, 0.45, 0.45), "Mean of each channel, of values in 0..1.")
    std: tuple[float, float, float] = key((0.225, 0.225, 0.225), "Standard deviation of each channel.", POSITIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        dense = self.sampling == "dense"
        require(self.window > 0 or not dense, "window=0 must be above 0 seconds with sampling=dense", "window")
        require(
            self.window == 0 or dense,
            f"window={self.window:g} is for sampling=dense, not {self.sampling}; remove it",
            "window",
        )
        low, high = self.scale
        require(
            self.crop <= low <= high,
            f"scale=[{low}, {high}] must be two sizes, crop={self.crop} or more, rising",
            "scale",
        )
        inside = len(self.area) == 2 and 0 < self.area[0] <= self.area[1] <= 1
        require(
            not self.area or inside,
            f"area={list(self.area)} must be [] or two rising fractions above 0, at most 1",
            "area",
        )
        require(self.ratio[0] <= self.ratio[1], f"ratio={list(self.ratio)} must be two rising numbers", "ratio")


@dataclasses.dataclass(frozen=True)
class Color(Section):
    """Color jitter with the ranges of torchvision's ColorJitter; 0 is off. Each clip gets its own colors."""

    brightness: float = key(0.0, "b: the factor is drawn from max(0, 1 - b) to 1 + b.", Range(0, note="0: off"))
    contrast: float = key(0.0, "The same for contrast.", Range(0, note="0: off"))
    saturation: float = key(0.0, "The same for saturation.", Range(0, note="0: off"))
    hue: float = key(0.0, "h: hue is turned by -h to h whole turns.", Range(0, 0.5, note="0: off"))


@dataclasses.dataclass(frozen=True)
class RandAugment(Section):
    """RandAugment (Cubuk et al. 2020): a few random operations on each clip, all of one magnitude."""

    operations: int = key(0, "Operations on each clip.", Range(0, note="0: off"))
    magnitude: float = key(7.0, "Magnitude of the operations.", Range(0, 10))
    deviation: float = key(0.5, "Standard deviation of each operation's magnitude.", AT_LEAST_ZERO)


@dataclasses.dataclass(frozen=True)
class AugMix(Section):
    """AugMix (Hendrycks et al. 2020): each clip is mixed with results of chains of mild operations on it."""

    chains: int = key(0, "Chains of operations; 3 in the paper.", Range(0, note="0: off"))
    depth: int = key(3, "Largest number of operations in a chain.", AT_LEAST_ONE)
    magnitude: float = key(3.0, "Each operation's magnitude is drawn from 0.1 to this.", Range(0.1, 10))
    alpha: float = key(
        1.0, "Of Beta(alpha, alpha), the weight of all chains, and of Dirichlet, that of each.", POSITIVE
    )


@dataclasses.dataclass(frozen=True)
class Augment(Section):
    """Changes to training clips after cropping and mirroring; docs/augmentation.md."""

    color: Color = section(Color)
    rand_augment: RandAugment = section(RandAugment)
    augmix: AugMix = section(AugMix)
    erase: float = key(0.0, "Random erasing: chance that a box of a clip is covered.", FRACTION)
    mixup: float = key(0.0, "Alpha of Beta(alpha, alpha), from which weights are drawn.", Range(0, note="0: off"))
    cutmix: float = key(0.0, "The same for CutMix.", Range(0, note="0: off"))
    mix_switch: float = key(0.5, "Chance of CutMix for a clip, where both are on.", FRACTION)
    no_flip: tuple[str, ...] = key((), "Names of classes whose clips are never mirrored.")
    target: str = key("", "Augmentation of your own: package.module.function; docs/extending.md.")
    arguments: Plain = key({}, "Arguments of target.")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            bool(self.target) or not self.arguments, "arguments has no effect without target; remove it", "arguments"
        )


@dataclasses.dataclass(frozen=True)
class Model(Section):
    """The network: a name of ``videopool.models.MODELS``, or ``target`` for one of another package."""

    name: str = key("c3d", "c3d, r2plus1d, slowfast, x3d, or resnet (for images).")
    target: str = key(
        "", "Network of another package: package.module.function; takes (classes=, frames=, crop=, **arguments)."
    )
    takes: Literal["auto", "clips", "images"] = key(
        "auto",
        "What target's network takes: clips [B,3,T,H,W] or images [B,3,H,W]. auto: images where clip.frames is 1 and "
        "it has 2D convolutions but no 3D ones.",
    )
    pooling: Pooling | Target = key("soft", "Pooling method, or your class; none: the published architecture.")
    pooling_arguments: Plain = key({}, "Arguments of the method, such as {beta: 2.0} of soft or {p: 3.0} of lp.")
    pooling_sites: tuple[str, ...] = key(
        (), "Kinds (pool, head, shortcut, stride) or paths of layers to change; []: the default of the model."
    )
    dropout: float = key(0.5, "Dropout before the classifier.", _BELOW_ONE)
    arguments: Plain = key({}, "More arguments of the builder: depth, width, ...")
    pretrained: str = key("", "Checkpoint or safetensors file whose weights are loaded where they fit.")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.takes == "auto" or bool(self.target),
            f"takes={self.takes} is for target only, the networks of name take clips; remove it",
            "takes",
        )


@dataclasses.dataclass(frozen=True)
class Optim(Section):
    """Optimizer, learning-rate schedule and loss."""

    name: Literal["sgd", "adamw"] = key("sgd", "Optimizer; sgd has Nesterov momentum.")
    lr: float = key(0.1, "Peak learning rate, after warm-up, for the global batch.", POSITIVE)
    weight_decay: float = key(1e-4, "Not applied to biases and normalization parameters.", AT_LEAST_ZERO)
    momentum: float = key(0.9, "Of sgd.", _BELOW_ONE)
    betas: tuple[float, float] = key((0.9, 0.999), "Of adamw.", _BELOW_ONE)
    schedule: Literal["cosine", "multistep", "constant"] = key("cosine", "Course of the learning rate after warm-up.")
    warmup_epochs: float = key(0.0, "Epochs of linear warm-up from warmup_start * lr.", AT_LEAST_ZERO)
    warmup_start: float = key(0.01, "Where warm-up starts, as a fraction of lr.", FRACTION)
    final: float = key(0.0, "cosine ends at final * lr.", FRACTION)
    milestones: tuple[float, ...] = key((), "multistep: epochs at which lr is multiplied by gamma.")
    gamma: float = key(0.1, "multistep: factor at each milestone.", FRACTION)
    label_smoothing: float = key(0.0, "Label smoothing of the cross entropy.", _BELOW_ONE)
    clip_norm: float = key(0.0, "Largest L2 norm of the gradient.", Range(0, note="0: no clipping"))

    def __post_init__(self) -> None:
        super().__post_init__()
        rising = list(self.milestones) == sorted(set(self.milestones))
        require(rising, f"milestones={list(self.milestones)} must be rising epochs", "milestones")
        require(
            self.schedule != "multistep" or bool(self.milestones),
            "milestones=[] must have at least one epoch with schedule=multistep",
            "milestones",
        )


@dataclasses.dataclass(frozen=True)
class Train(Section):
    """The training loop."""

    epochs: int = key(30, "Epochs to train.", AT_LEAST_ONE)
    batch_per_device: int = key(8, "Clips per process and step.", AT_LEAST_ONE)
    clips_per_video: int = key(
        1, "Clips of each video in a batch (repeated augmentation); multiplies the steps of an epoch.", AT_LEAST_ONE
    )
    sampler: Literal["uniform", "balanced", "weighted"] = key(
        "uniform", "uniform: each video once an epoch; balanced: each class equally often; weighted: by train.weights."
    )
    weights: str = key(
        "", "With sampler=weighted: a text file with one number per video of data.train; relative to data.root."
    )
    seed: int = key(0, "Seed of initial weights, order of the videos, crops and augmentation.", AT_LEAST_ZERO)
    device: Literal["auto", "cpu", "cuda"] = key("auto", "auto: cuda if a GPU is there.")
    precision: Literal["float32", "bfloat16"] = key("float32", "bfloat16: autocast.")
    resume: str = key("auto", "auto: resume from out/checkpoints/last.pt if it exists; none; or a checkpoint.")
    log_every: int = key(10, "Steps between lines of log.jsonl.", AT_LEAST_ONE)
    save_every: int = key(0, "Steps between checkpoints.", Range(0, note="0: at the end of every epoch"))
    evaluate_every: int = key(1, "Epochs between validations.", Range(0, note="0: only at the end"))
    keep: int = key(3, "Files step-*.pt to keep, in addition to last.pt and best.pt.", AT_LEAST_ONE)
    sync_batchnorm: bool = key(True, "Batch statistics over all processes (CUDA only).")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.batch_per_device % self.clips_per_video == 0,
            f"clips_per_video={self.clips_per_video} must divide batch_per_device={self.batch_per_device}",
            "clips_per_video",
        )
        weighted = self.sampler == "weighted"
        require(bool(self.weights) or not weighted, "weights is empty; sampler=weighted needs a file", "weights")
        require(
            weighted or not self.weights, f"weights is for sampler=weighted, not {self.sampler}; remove it", "weights"
        )


@dataclasses.dataclass(frozen=True)
class Evaluate(Section):
    """Views per video of the final test. Validation during training takes one centered clip and crop."""

    clips: int = key(
        10, "Clips spread evenly over each video.", Range(0, note="0: windows that slide over the whole video")
    )
    hop: float = key(0.0, "With clips=0: seconds from one window to the next.", Range(0, note="0: the span of a clip"))
    crops: Literal[1, 3] = key(3, "1: center; 3: along the longer side.")
    scale: int = key(0, "Pixels of the shorter side.", Range(0, note="0: the smallest of clip.scale"))
    crop: int = key(0, "Pixels: side of the crop.", Range(0, note="0: clip.crop"))
    batch: int = key(0, "Clips per forward pass.", Range(0, note="0: train.batch_per_device"))
    allow_missing: bool = key(False, "Accept metrics although some videos could not be scored.")
    metrics: tuple[str, ...] = key((), "Further metrics: package.module.function each; docs/extending.md.")

    def __post_init__(self) -> None:
        super().__post_init__()
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

    def __post_init__(self) -> None:
        super().__post_init__()
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
            not (self.augment.mixup or self.augment.cutmix) or self.train.batch_per_device > 1,
            "augment.mixup and augment.cutmix mix the clips of a batch, but train.batch_per_device=1; raise it, or set "
            "both to 0",
        )

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
        return self.evaluate.batch or self.train.batch_per_device
