"""From a configuration to built objects.

It is the one place below the tools that reads the config, and long for that reason alone.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videopool import models
from videopool.config import Config, differences, dump, from_plain, to_plain
from videopool.data.augment import Augmentation, AugMix, ColorJitter, CustomAugmentation, Erase, Mix, RandAugment
from videopool.data.decoding.decode import Reading
from videopool.data.decoding.image_reader import is_image
from videopool.data.lists.records import VideoList, read_videos
from videopool.data.lists.table import VideoTable
from videopool.data.loading.dataset import TestVideos, TrainClips
from videopool.data.loading.loader import TestLoader, TrainLoader, WindowLoader
from videopool.data.loading.windows import WindowVideos
from videopool.data.order import choose_order
from videopool.data.sampling import ClipSampling
from videopool.data.targets import LabelSets, no_flip_labels
from videopool.data.transforms import Normalize
from videopool.engine.checkpoint import CheckpointFolder, check_position, read_checkpoint, read_weights
from videopool.engine.distributed import World
from videopool.engine.evaluate import Evaluation, EvaluationPlan, Preprocess, evaluate
from videopool.engine.log import BadVideos, RunLog
from videopool.engine.loss import choose_loss
from videopool.engine.memory_order import avoid_faulty_layers, channels_last
from videopool.engine.optim import build_optimizer
from videopool.engine.schedule import build_schedule
from videopool.engine.stop import StopRequest
from videopool.engine.trainer import Intervals, RunFiles, Trainer, Update
from videopool.errors import InputError
from videopool.export.deployed import Deployed, Description
from videopool.files import printable, write_text
from videopool.pooling import Change, report
from videopool.targets import import_target
from videopool.types import VideoRecord

# Keys that a resumed run may change: they say how, how often or where, and not what is computed.
FREE_ON_RESUME = (
    "out", "data.root", "data.train", "data.test", "data.decoder", "data.workers", "data.decode_timeout",
    "data.max_bad_fraction", "model.pretrained", "train.device", "train.resume", "train.log_every", "train.save_every",
    "train.evaluate_every", "train.keep", "evaluate",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """A trainer, ready to run.

    Attributes:
        trainer: the trainer.
        about: notes on the lists, the pooling and the weights, for the user.
        finished: whether there is no step left.
        videos: how many videos there are to train on.
        changes: the pooling that was changed in the model.
        loaders: closed by ``close``.
    """

    trainer: Trainer
    about: str
    finished: bool
    videos: int
    changes: tuple[Change, ...]
    loaders: tuple[TrainLoader | TestLoader | WindowLoader, ...]

    def close(self) -> None:
        """Stop the loader processes."""
        for loader in self.loaders:
            loader.close()


def build_training(config: Config, world: World, stop: StopRequest, *, dry: bool = False) -> TrainingRun:
    """Build everything that training needs, resumed as ``train.resume`` says; ``dry`` writes no file.

    Raises:
        InputError: for settings and data that do not fit; nothing is written then.
    """
    out = _run_folder(config)
    checkpoints = CheckpointFolder(out / "checkpoints", keep=config.train.keep)
    videos = read_list(config, config.data.train, None)
    if len(videos.classes) < 2:
        raise InputError(
            f"{videos.source} has one class, {videos.classes[0]!r}; there is nothing to tell apart"
            f"{_classes_inside(videos)}"
        )
    tests = read_list(config, config.data.test, videos.classes)
    state = _resumed(config, checkpoints, videos)
    model, changes = build_model(config, videos.classes)
    loaded = load_pretrained(model, config) if state is None and config.model.pretrained else ""
    model = _on_device(model, config, world)
    avoided = avoid_faulty_layers(model) if world.device.type == "cpu" else ""
    loader = _train_loader(config, videos, world)
    if state:
        check_position(state, loader.steps_per_epoch, world.size)
    several, writes = videos.several_labels, world.main and not dry
    validation, plan = _test_plan(config, tests.records, videos.classes, world, several, clips=1, crops=1)
    optimizer, update = _optimizer(config, model), _update(config, videos.classes, several)
    start = state["step"] if state else 0
    files = RunFiles(
        checkpoints=checkpoints,
        log=RunLog(out, config.train.epochs * loader.steps_per_epoch, start_step=start, main=world.main, writes=writes),
        bad_videos=BadVideos(out / "bad_videos.jsonl", start_step=start, writes=writes),
        identity={"config": to_plain(config), "classes": list(videos.classes), "several_labels": several},
        max_bad_videos=config.data.max_bad_fraction * len(videos.records),
    )
    if writes:
        write_text(out / "config.yaml", dump(config))
    trainer = Trainer(
        model,
        optimizer,
        loader,
        update=update,
        intervals=_intervals(config),
        files=files,
        evaluate=functools.partial(_validate, config, plan, world),
        world=world,
        stop=stop,
    )
    if state:
        trainer.restore(state)
    about = "\n".join(filter(None, (videos.note, tests.note, report(changes), loaded, avoided)))
    finished = trainer.step >= trainer.total_steps
    return TrainingRun(trainer, about, finished, len(videos.records), changes, (loader, validation))


def load_trained(
    path: Path, overrides: Sequence[str] = ()
) -> tuple[Config, tuple[str, ...], nn.Module, dict[str, Any]]:
    """Configuration (changed by overrides), classes, model in eval mode on the CPU, and the checkpoint's content."""
    state = read_checkpoint(path)
    config = from_plain(state["config"], f"the config in {path}", overrides)
    classes = tuple(state["classes"])
    model, _ = build_model(config, classes)
    _load(model, state["model"], path, strict=True)
    return config, classes, channels_last(model).eval(), state


def deployed(
    config: Config, classes: tuple[str, ...], model: nn.Module, *, several_labels: bool
) -> tuple[Deployed, Description]:
    """Return the trained ``model`` from uint8 clips to logits, in eval mode, and its description for an export."""
    clip, data = config.clip, config.data
    description = Description(
        frames=clip.frames,
        sampling=clip.sampling,
        stride=clip.stride,
        fps=clip.fps,
        window=clip.window,
        short=clip.short,
        short_side=config.test_scale,
        crop=config.test_crop,
        mean=clip.mean,
        std=clip.std,
        square_pixels=data.square_pixels,
        deinterlace=data.deinterlace,
        classes=classes,
        several_labels=several_labels,
        config=dump(config),
    )
    return Deployed(model, preprocessing(config)).eval(), description


def test_plan(
    config: Config,
    records: Sequence[VideoRecord],
    classes: tuple[str, ...],
    world: World,
    several_labels: bool,
) -> tuple[TestLoader | WindowLoader, EvaluationPlan]:
    """The test of ``config.evaluate``, K clips x S crops of every video, and the loader to close after it.

    ``several_labels`` stands in the checkpoint: whether the network tells several classes of a video.
    """
    spec = config.evaluate
    return _test_plan(config, records, classes, world, several_labels, clips=spec.clips, crops=spec.crops)


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
    }
    if not spec.target:
        given["dropout"] = spec.dropout
    elif "." not in spec.target:
        raise InputError(f"target={spec.target!r} must have the form package.module.function", setting="target")
    for name in sorted(set(given) & set(spec.arguments)):
        raise InputError(f"model.arguments.{name} is set by another key (clip.{name} or model.{name}). Remove it.")
    model: Any = models.build(spec.target or spec.name, **given, **spec.arguments)
    return model, model.changes


def preprocessing(config: Config) -> Preprocess:
    """uint8 clips [B,C,T,H,W] into normalised float32 in channels_last_3d order, on the device they are on."""
    return Normalize(config.clip.mean, config.clip.std)


def clip_sampling(config: Config) -> ClipSampling:
    """The part of the config that decides which pixels at which times make a clip."""
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


def read_list(
    config: Config, source: str, classes: tuple[str, ...] | None, *, may_lack_labels: bool = False
) -> VideoList:
    """The videos of ``data.train`` or ``data.test``: absolute, below ``data.root``, or as given.

    Raises:
        InputError: for a list that cannot be read, and for one without labels unless it ``may_lack_labels``.
    """
    root = config.data.root or None
    if root is not None and not Path(root).is_dir():
        raise InputError(f"data.root: {root} is not a folder; give the folder of your videos with data.root=PATH")
    videos = read_videos(source, root, classes)
    if videos.unlabeled and not may_lack_labels:
        raise InputError(
            f"{videos.source} has no labels, which training and validation need; give a list 'path label', and "
            "classify this one with tools/evaluate.py CHECKPOINT data.test=LIST"
        )
    if config.clip.frames > 1 and all(is_image(record.path) for record in videos.records):
        raise InputError(
            f"{videos.source} lists images alone, but clip.frames={config.clip.frames}; set clip.frames=1 for images, "
            "or list folders of frames that belong together as 'folder frames label' (docs/lists.md)"
        )
    return videos


def _classes_inside(videos: VideoList) -> str:
    """A hint where the only class is a folder of folders, which may be the classes."""
    inside = Path(videos.source) / videos.classes[0]
    nested = inside.is_dir() and all(record.path.parent != inside for record in videos.records)
    return f"; if the folders in it are the classes, give {inside}" if nested else ""


def load_pretrained(model: nn.Module, config: Config) -> str:
    """Loads the weights of ``model.pretrained`` where they fit, and says which did."""
    path = Path(config.model.pretrained)
    return f"pretrained: {path}: {_load(model, read_weights(path), path, strict=False)}"


def _load(model: nn.Module, weights: dict[str, Any], path: Path, *, strict: bool) -> models.LoadReport:
    try:
        return models.load_weights(model, weights, strict=strict, new_head=not strict)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _on_device(model: nn.Module, config: Config, world: World) -> nn.Module:
    if config.train.sync_batchnorm and world.size > 1 and world.device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return channels_last(model).to(world.device)


def _optimizer(config: Config, model: nn.Module) -> torch.optim.Optimizer:
    spec = config.optim
    return build_optimizer(
        model, spec.name, lr=spec.lr, weight_decay=spec.weight_decay, momentum=spec.momentum, betas=spec.betas
    )


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


def _update(config: Config, classes: Sequence[str], several_labels: bool) -> Update:
    spec = config.optim
    schedule = build_schedule(
        spec.schedule,
        epochs=config.train.epochs,
        warmup_epochs=spec.warmup_epochs,
        warmup_start=spec.warmup_start,
        final=spec.final,
        milestones=spec.milestones,
        gamma=spec.gamma,
    )
    return Update(
        augment=augmentation(config, classes),
        preprocess=preprocessing(config),
        lr=spec.lr,
        schedule=schedule,
        loss=choose_loss(several_labels=several_labels, label_smoothing=spec.label_smoothing),
        clip_norm=spec.clip_norm,
        bfloat16=config.train.precision == "bfloat16",
        seed=config.train.seed,
    )


def _intervals(config: Config) -> Intervals:
    spec = config.train
    return Intervals(
        spec.epochs, log_every=spec.log_every, save_every=spec.save_every, evaluate_every=spec.evaluate_every
    )


def _train_loader(config: Config, videos: VideoList, world: World) -> TrainLoader:
    no_flip = no_flip_labels(config.augment.no_flip, videos.classes)
    spec, several = config.train, videos.several_labels
    weights = Path(config.data.root, spec.weights)
    return TrainLoader(
        TrainClips(videos.records, clip_sampling(config), seed=spec.seed, no_flip=no_flip, reading=reading(config)),
        batch=spec.batch_per_device,
        seed=spec.seed,
        order=choose_order(spec.sampler, labels=videos.records.label, weights=weights, several_labels=several),
        clips_per_video=spec.clips_per_video,
        targets=LabelSets(videos.records, len(videos.classes)) if several else None,
        epochs=spec.epochs,
        **_loading(config, world),
    )


def _test_plan(
    config: Config,
    records: Sequence[VideoRecord],
    classes: tuple[str, ...],
    world: World,
    several_labels: bool,
    *,
    clips: int,
    crops: int,
) -> tuple[TestLoader | WindowLoader, EvaluationPlan]:
    if not several_labels and isinstance(records, VideoTable) and records.several_labels:
        raise InputError(
            f"the videos of {config.data.test} have several classes each, but the network is trained on one each; "
            "give another data.test, or train on a list with several"
        )
    sampling, loading = clip_sampling(config), _loading(config, world)
    loader: TestLoader | WindowLoader
    if clips:
        dataset = TestVideos(records, sampling, clips=clips, crops=crops, reading=reading(config))
        loader = TestLoader(dataset, batch_videos=max(1, config.test_batch // (clips * crops)), **loading)
    else:
        windows = WindowVideos(records, sampling, hop=config.evaluate.hop, crops=crops, reading=reading(config))
        loader = WindowLoader(windows, batch=config.test_batch, **loading)
    listed = records.label if isinstance(records, VideoTable) else [record.label for record in records]
    labels = torch.as_tensor(listed, dtype=torch.int64)
    labeled = not (isinstance(records, VideoTable) and records.unlabeled)
    targets = _targets(records, len(classes), labeled) if several_labels else None
    plan = EvaluationPlan(
        loader, labels, classes, views=clips * crops, batch=config.test_batch, targets=targets, labeled=labeled
    )
    return loader, plan


def _targets(records: Sequence[VideoRecord], classes: int, labeled: bool) -> torch.Tensor:
    """float32 [V,K], 1 for each class of a video; zeros where nobody knows them."""
    return LabelSets(records, classes)(range(len(records))) if labeled else torch.zeros(len(records), classes)


def reading(config: Config) -> Reading:
    """How all data sets read videos."""
    data = config.data
    return Reading(data.decoder, data.folder_fps, data.square_pixels, data.deinterlace, data.decode_timeout)


def _loading(config: Config, world: World) -> dict[str, Any]:
    """How all loaders share the videos among processes and workers."""
    pin = world.device.type == "cuda"
    return {"rank": world.rank, "world": world.size, "workers": config.data.workers, "pin": pin}


def _validate(config: Config, plan: EvaluationPlan, world: World, model: nn.Module) -> Evaluation:
    bfloat16 = config.train.precision == "bfloat16"
    return evaluate(model, plan, preprocess=preprocessing(config), world=world, bfloat16=bfloat16)


def _run_folder(config: Config) -> Path:
    if printable(config.out) != config.out:
        raise InputError(f"out={printable(config.out)} is not UTF-8, and TensorBoard needs that; name another folder")
    return Path(config.out)


def _resumed(config: Config, checkpoints: CheckpointFolder, videos: VideoList) -> dict[str, Any] | None:
    """The checkpoint to go on from, checked against this run, or None to begin."""
    resume = config.train.resume
    if resume in ("auto", "none"):
        if not checkpoints.last.exists():
            return None
        if resume == "none":
            raise InputError(
                f"{config.out} already holds a run; go on with train.resume=auto, or give another folder with out="
            )
    path = checkpoints.last if resume == "auto" else Path(resume)
    if not path.exists():
        raise InputError(f"train.resume={resume}: expected auto, none or an existing checkpoint")
    state = read_checkpoint(path)
    then = from_plain(state["config"], f"the config in {path}")  # keys that are new since then have their defaults
    changed = differences(then, config, ignore=FREE_ON_RESUME)
    if changed:
        raise InputError(
            f"{path} belongs to a run with other settings ({'; '.join(changed[:4])}); "
            "undo them, or begin a new run with another out="
        )
    if state["classes"] != list(videos.classes) or state["several_labels"] != videos.several_labels:
        raise InputError(f"{path} was trained on other classes than {config.data.train} has; begin a new run with out=")
    return state
