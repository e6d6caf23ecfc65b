"""A training run, built from its configuration or resumed from a checkpoint."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from videopool.config import Config, differences, dump, list_differences, to_plain
from videopool.data.label_sets import LabelSets, no_flip_labels
from videopool.data.lists.records import VideoList
from videopool.data.loading.dataset import TrainClips
from videopool.data.loading.loader import TestLoader, TrainLoader, WindowLoader
from videopool.data.order import choose_order
from videopool.data.steps import FULL, Stage
from videopool.engine.builders.batches import (
    Resumed,
    describe_batch,
    learning_rate,
    norm_clips,
    resume_from,
    split_of,
    synchronizes_norms,
    with_batch,
)
from videopool.engine.builders.multigrid import check_shapes, epochs_of, multigrid_of, smaller_clips
from videopool.engine.builders.optimization import average_of, freeze_model, loss_of, optimizer_of, schedule_of
from videopool.engine.builders.parts import (
    augmentation,
    build_model,
    clip_sampling,
    load_pretrained,
    loading,
    preprocessing,
    reading,
)
from videopool.engine.builders.probing import read_lists
from videopool.engine.builders.teacher import teacher_of
from videopool.engine.builders.testing import build_plan
from videopool.engine.checkpoints.files import CheckpointFolder, check_position, read_checkpoint
from videopool.engine.class_names import class_difference
from videopool.engine.cluster.distributed import World
from videopool.engine.cluster.sharding import shard
from videopool.engine.cluster.shared_folder import check_shared
from videopool.engine.cluster.stop import StopRequest
from videopool.engine.scoring.evaluation import evaluate
from videopool.engine.step.faulty_layers import avoid_faulty_layers
from videopool.engine.step.memory_order import channels_last
from videopool.engine.step.precise_norm import PreciseNorm
from videopool.engine.step.recompute import checkpoint_stages
from videopool.engine.step.split import Split
from videopool.engine.step.train_step import Update
from videopool.engine.trainer import Intervals, RunFiles, Trainer
from videopool.engine.watching.log import BadVideos, RunLog
from videopool.engine.watching.profile import WARM_UP, StepProfiler
from videopool.engine.watching.starvation import StarvationAdvice
from videopool.engine.watching.trackers import check_trackers
from videopool.errors import InputError
from videopool.files import escape_surrogates, write_text
from videopool.pooling import Change, report

# Keys that a resumed run may change, because they do not change the training.
FREE_ON_RESUME = (
    "out", "data.root", "data.train", "data.test", "data.decoder", "data.workers", "data.decode_timeout",
    "data.max_bad_fraction", "model.pretrained", "model.checkpoint_activations", "train.device", "train.resume",
    "train.log_every", "train.save_every", "train.evaluate_every", "train.batch_per_device", "train.compile",
    "train.keep", "train.keep_every_hours", "train.sharding", "train.patience", "train.trackers", "train.profile",
    "train.timeout", "train.start_timeout", "evaluate",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """A trainer, ready to run.

    Attributes:
        trainer: the trainer.
        about: notes on the lists, the batch, the pooling and the weights, for the user.
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
        """Wait for the last checkpoint, and stop the loader processes."""
        self.trainer.writer.close()
        for loader in self.loaders:
            loader.close()


def build_training(
    config: Config,
    world: World,
    stop: StopRequest,
    *,
    dry: bool = False,
    trust: bool = False,
    on_videos: Callable[[int], None] = lambda videos: None,
) -> TrainingRun:
    """Build everything that training needs, resumed as ``train.resume`` says; ``dry`` writes no file.

    ``on_videos`` is called during validation with the number of videos that this process has seen. ``trust`` is for the
    teacher of a distillation: whether it may name other functions than ``config``.

    Raises:
        InputError: for settings and data that do not fit; nothing is written then.
    """
    out = Path(config.out)
    if escape_surrogates(config.out) != config.out:
        raise InputError(f"out={escape_surrogates(config.out)} is not UTF-8, as TensorBoard needs; give another folder")
    spec = config.train
    checkpoints = CheckpointFolder(out / "checkpoints", keep=spec.keep, keep_every_hours=spec.keep_every_hours)
    videos, tests, warnings = read_lists(config, world)
    sharded = _is_sharded(config, world) and not dry  # FLOPs are counted on a whole network
    resumed, note = _resumed(config, checkpoints, videos, world, whole=not sharded)
    given, config = config, with_batch(config, world.size, resumed)
    split = split_of(config, world.size)
    model, changes, notes = _network(config, videos.classes, world, pretrained=resumed is None)
    loader = _train_loader(config, videos, world, split)
    average = average_of(config, model, loader.steps)  # before sharding: it copies the network
    if sharded:
        check_shared(out, world)
        for network in (model, average.network) if average is not None else (model,):
            shard(network, world)
    if resumed is not None:
        check_position(resumed.state, loader.steps_per_epoch)
    several, writes = videos.several_labels, world.main and not dry
    validation, plan = build_plan(config, tests.records, videos.classes, world, several, clips=1, crops=1)
    precise_norm = _precise_norm(config, videos, world, split, on_videos)
    optimizer, update = optimizer_of(config, model), _update(config, videos, world, split, trust=trust)
    start = resumed.state["step"] if resumed is not None else 0
    files = _run_files(config, videos, checkpoints, loader, start, world, writes=writes)
    if writes:
        write_text(out / "config.yaml", dump(config))
    trainer = Trainer(
        model,
        optimizer,
        loader,
        update=update,
        intervals=Intervals(epochs_of(config), spec.log_every, spec.save_every, spec.evaluate_every, spec.patience),
        files=files,
        evaluate=functools.partial(evaluate, plan=plan, world=world, on_videos=on_videos),
        world=world,
        stop=stop,
        average=average,
        precise_norm=precise_norm,
    )
    if resumed is not None:
        trainer.restore(resumed.state)
    if spec.profile and not dry:
        trainer.train_step.hooks.append(_profiler(config, trainer))
    batch = describe_batch(given, config, model, world, resumed)
    about = "\n".join(filter(None, (warnings, videos.note, tests.note, batch, note, *notes)))
    return TrainingRun(trainer, about, trainer.finished, len(videos.records), changes, (loader, validation))


def _network(
    config: Config, classes: Sequence[str], world: World, *, pretrained: bool
) -> tuple[nn.Module, tuple[Change, ...], tuple[str, ...]]:
    """Return the network on its device, the changes of its pooling, and notes for the user.

    ``pretrained``: whether to load ``model.pretrained``.
    """
    model, changes = build_model(config, classes)
    check_shapes(config, model)
    loaded = load_pretrained(model, config) if pretrained else ""
    model = _on_device(model, config, world)
    frozen = freeze_model(config, model)
    checkpoint_stages(model, config.model.checkpoint_activations)
    avoided = avoid_faulty_layers(model) if world.device.type == "cpu" else ""
    return model, changes, (report(changes), loaded, frozen, avoided)


def _run_files(
    config: Config,
    videos: VideoList,
    checkpoints: CheckpointFolder,
    loader: TrainLoader,
    start: int,
    world: World,
    *,
    writes: bool,
) -> RunFiles:
    """Return what a run writes from the step ``start`` on."""
    several = videos.several_labels
    return RunFiles(
        checkpoints=checkpoints,
        log=_run_log(config, loader, start, world, writes=writes),
        bad_videos=BadVideos(Path(config.out, "bad_videos.jsonl"), start_step=start, writes=writes),
        identity={"config": to_plain(config), "classes": list(videos.classes), "several_labels": several},
        videos=videos.records,
        max_bad_videos=config.data.max_bad_fraction * len(videos.records),
    )


def _run_log(config: Config, loader: TrainLoader, start: int, world: World, *, writes: bool) -> RunLog:
    spec = config.train
    check_trackers(spec.trackers)
    processes = world.gather(world.host).count(world.host)  # on this machine
    epochs = epochs_of(config)
    every = spec.evaluate_every or epochs
    total_steps = loader.steps.first(epochs)
    return RunLog(
        Path(config.out),
        total_steps,
        start_step=start,
        validations=sorted({*map(loader.steps.first, range(every, epochs + 1, every)), total_steps}),
        trackers=spec.trackers,
        config=to_plain(config),
        starvation=StarvationAdvice(config.data.workers, processes=processes),
        main=world.main,
        writes=writes,
    )


def _profiler(config: Config, trainer: Trainer) -> StepProfiler:
    """Return a profiler of ``train.profile`` steps, or of the remaining ones if these are fewer."""
    left = trainer.total_steps - trainer.step
    steps = min(config.train.profile, left)
    return StepProfiler(
        Path(config.out) / "profile",
        steps,
        rank=trainer.world.rank,
        device=trainer.world.device,
        say=trainer.log.say,
        warm_up=min(WARM_UP, left - steps),
    )


def _resumed(
    config: Config, checkpoints: CheckpointFolder, videos: VideoList, world: World, *, whole: bool
) -> tuple[Resumed | None, str]:
    """Return the checkpoint to resume from, checked against this run, or None to start from the beginning.

    The second value is a warning about checkpoints that cannot be read, or "". See ``read_checkpoint`` for ``whole``.
    """
    resume = config.train.resume
    path, note = Path(resume), ""
    if resume in ("auto", "none"):
        newest = _newest(checkpoints, world)
        if newest is None:
            return None, ""
        if resume == "none":
            raise InputError(
                f"{config.out} holds a run; resume it with train.resume=auto, or give another folder with out="
            )
        path, note = newest
    if not path.exists():
        raise InputError(f"train.resume={resume} must be auto, none or an existing checkpoint")
    state = read_checkpoint(path, whole=whole)
    resumed = resume_from(state, f"the config in {path}")
    changed = _changed(resumed, with_batch(config, world.size, resumed), world)
    if changed:
        raise InputError(
            f"{path} belongs to a run with other settings ({list_differences(changed)}); "
            "undo them, or start a new run with another out="
        )
    if state["classes"] != list(videos.classes) or state["several_labels"] != videos.several_labels:
        raise InputError(
            f"{path} was trained on other classes than {config.data.train} has "
            f"({class_difference(state['classes'], videos.classes)}); give another out="
        )
    return resumed, note


def _changed(resumed: Resumed, config: Config, world: World) -> list[str]:
    """Return the keys of ``config`` that must be those of the checkpoint, and are not."""
    # Another norm_batch is allowed if the statistics remain those of as many clips.
    same_norms = config.train.norm_batch == resumed.config.train.norm_batch or (
        norm_clips(config, world.size, world.device) == resumed.norm_clips(world.device)
    )
    ignore = (*FREE_ON_RESUME, "train.norm_batch") if same_norms else FREE_ON_RESUME
    return differences(resumed.config, config, ignore=ignore)


def _newest(checkpoints: CheckpointFolder, world: World) -> tuple[Path, str] | None:
    """Return the newest checkpoint that the main process can read, for all processes, and a warning or ""; or None.

    Raises:
        InputError: if there are checkpoints, but none can be read.
    """
    path, note, error = "", "", ""
    if world.main:
        try:
            newest = checkpoints.find_newest()
        except InputError as unreadable:
            error = str(unreadable)
        else:
            path, note = (str(newest.path), newest.note) if newest else ("", "")
    path, note, error = world.gather((path, note, error))[0]
    if error:
        raise InputError(error)
    return (Path(path), f"warning: {note}" if note else "") if path else None


def _on_device(model: nn.Module, config: Config, world: World) -> nn.Module:
    if synchronizes_norms(config, world.size, world.device):
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return channels_last(model).to(world.device)


def _is_sharded(config: Config, world: World) -> bool:
    """Return whether the network is divided among processes, as ``train.sharding`` asks if there are several.

    Raises:
        InputError: for another setting that does not work with it.
    """
    if config.train.sharding == "none" or world.size == 1:
        return False
    spec = config.train
    if spec.compile != "none":
        raise InputError(f"train.compile={spec.compile} does not work with train.sharding=full; change one of them")
    return True


def _train_loader(config: Config, videos: VideoList, world: World, split: Split) -> TrainLoader:
    no_flip = no_flip_labels(config.augment.no_flip, videos.classes)
    spec, several = config.train, videos.several_labels
    weights, multigrid = Path(config.data.root, spec.weights), multigrid_of(config)
    clips = TrainClips(
        videos.records,
        clip_sampling(config),
        seed=spec.seed,
        no_flip=no_flip,
        reading=reading(config),
        smaller=smaller_clips(config),
    )
    return TrainLoader(
        clips,
        batch=split.batch,
        passes=split.passes,
        seed=spec.seed,
        order=choose_order(spec.sampler, labels=videos.records.label, weights=weights, several_labels=several),
        clips_per_video=spec.clips_per_video,
        targets=LabelSets(videos.records, len(videos.classes)) if several else None,
        epochs=epochs_of(config),
        stages=(Stage(spec.epochs),) if multigrid is None else multigrid.stages,
        **loading(config, world),
    )


def _precise_norm(
    config: Config, videos: VideoList, world: World, split: Split, on_videos: Callable[[int], None]
) -> PreciseNorm | None:
    """Return the ``PreciseNorm`` of ``train.precise_norm``, which uses other clips than training; None without it."""
    spec = config.train
    if not spec.precise_norm:
        return None
    own = dataclasses.replace(config, train=dataclasses.replace(spec, seed=spec.seed + 1, multigrid="none"))
    return PreciseNorm(
        _train_loader(own, videos, world, split),
        spec.precise_norm,
        preprocess=preprocessing(config),
        split=split,
        world=world,
        precision=spec.precision,
        on_batch=lambda: on_videos(0),
    )


def _update(config: Config, videos: VideoList, world: World, split: Split, *, trust: bool) -> Update:
    multigrid = multigrid_of(config)
    return Update(
        split=split,
        augment=augmentation(config, videos.classes),
        preprocess=preprocessing(config),
        lr=learning_rate(config),
        schedule=schedule_of(config),
        loss=loss_of(config, videos, world.device),
        clip_norm=config.optim.clip_norm,
        clip_value=config.optim.clip_value,
        teacher=teacher_of(config, videos.classes, videos.several_labels, world.device, trust=trust),
        precision=config.train.precision,
        compile=config.train.compile,
        sizes=(FULL,) if multigrid is None else multigrid.sizes,
        seed=config.train.seed,
    )
