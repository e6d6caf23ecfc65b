"""Evaluation. Validation during training and the final test differ only in the plan."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from videopool.data.loading.prefetch import on_device
from videopool.engine.cluster.distributed import World
from videopool.engine.scoring.own_scores import OwnScores, Waiting, on_main
from videopool.engine.scoring.score_shards import ScoreShard, ShardFolder, ShardWriter
from videopool.engine.scoring.scores import (
    ClipScores,
    Metrics,
    SeveralLabelMetrics,
    UnlabeledMetrics,
    VideoResults,
    measure,
    measure_several,
    measure_unlabeled,
)
from videopool.engine.step.precision import Precision, autocast
from videopool.errors import InputError
from videopool.types import BadVideo, Batch

Preprocess = Callable[[torch.Tensor], torch.Tensor]  # uint8 [B,C,T,H,W] -> float32 [B,C,T,H,W], on the same device
# Mean probabilities float64 [V,K] of the scored videos, and their labels int64 [V] or, where a video may have several
# classes, targets float32 [V,K] -> a number
Metric = Callable[[torch.Tensor, torch.Tensor], float]


@dataclasses.dataclass(frozen=True)
class EvaluationPlan:
    """What to evaluate, and how.

    Attributes:
        batches: the batches of this process, with all views of its videos; those of all processes make up V videos.
        labels: int64 [V] of all videos; -1 without labels.
        classes: the K names.
        preprocess: turns uint8 clips into the input of the network.
        views: views of a complete video; 0: as many as the video is long, in sliding windows.
        batch: largest number of clips in a forward pass.
        targets: float32 [V,K], 1 for each class of a video, where it may have several; else None.
        labeled: False for a list without labels.
        precision: of the forward pass.
        metrics: custom metrics by name.
        crops: the number of consecutive views that are crops of the same clip.
    """

    batches: Iterable[Batch]
    labels: torch.Tensor
    classes: tuple[str, ...]
    preprocess: Preprocess
    views: int
    batch: int
    targets: torch.Tensor | None = None
    labeled: bool = True
    precision: Precision = "float32"
    metrics: Mapping[str, Metric] = dataclasses.field(default_factory=dict)
    crops: int = 1


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result, the same on every process but for ``shards``.

    Attributes:
        metrics: what was measured.
        videos: the results of each video.
        bad: the videos that could not be decoded.
        targets: those of the plan; None without labels.
        custom: the values of the custom metrics of the plan.
        shards: the scores of this process's clips; if they are in files, the main process has those of all processes.
        several_labels: whether a video may have several classes, so that scores are sigmoids.
        crops: those of the plan.
    """

    metrics: Metrics | SeveralLabelMetrics | UnlabeledMetrics
    videos: VideoResults
    bad: tuple[BadVideo, ...]
    targets: torch.Tensor | None
    custom: Mapping[str, float]
    shards: tuple[ScoreShard, ...]
    several_labels: bool
    crops: int

    @property
    def clips(self) -> ClipScores:
        """The scores of this process's clips, sorted by video and view: of all clips if there is one process."""
        return self.shards[0].clips()


def evaluate(
    model: nn.Module,
    plan: EvaluationPlan,
    *,
    world: World,
    files: ShardFolder | None = None,
    on_videos: Callable[[int], None] = lambda videos: None,
) -> Evaluation:
    """Score every view of every video once, and measure. Videos that cannot be decoded are listed, never replaced.

    Each process scores its own videos and keeps their clips' scores. The processes exchange a few numbers for each
    video; mean average precision is computed by the main process, a few classes at a time. Scores are keyed by
    (video, view) and summed in that order, so the result does not depend on the number of processes or workers, nor on
    the batch size beyond the rounding of the network's own arithmetic. A video whose decoding fails midway counts as
    one that cannot be decoded: none of its views counts.

    Args:
        model: on the device of ``world``; its training mode is restored.
        plan: what to evaluate.
        world: this process among all.
        files: the folder of the files in which the scores are kept; None: in memory.
        on_videos: called with the number of videos that this process has seen, also while the main process computes
            metrics.

    Raises:
        InputError: if scores are not finite, or a custom metric fails.
        ValueError: if views of one video were scored by two processes.
    """
    _share_buffers(model, world)
    shard, bad, seen = _score(model, plan, world.device, None if files is None else files.path, on_videos)
    waiting = functools.partial(on_videos, seen)
    bad = tuple(sorted((b for part in world.gather(bad) for b in part), key=lambda b: b.video))
    shard = shard.select(~torch.isin(shard.video, torch.tensor([b.video for b in bad], dtype=torch.int64)))
    own = OwnScores.of(shard, plan.labels, classes=len(plan.classes), views=plan.views)
    _check_finite(own, world)
    parts = world.gather_to_main(own.results)
    videos = on_main(world, lambda: VideoResults.joined(parts, plan.labels), waiting)
    shards = (shard,) if files is None else files.gather(shard)
    custom = _custom_metrics(plan, own, videos, world, waiting)
    return Evaluation(
        metrics=_metrics(plan, own, videos, world, waiting),
        videos=videos,
        bad=bad,
        targets=plan.targets if plan.labeled else None,
        custom=custom,
        shards=shards,
        several_labels=plan.targets is not None,
        crops=plan.crops,
    )


def _metrics(
    plan: EvaluationPlan, own: OwnScores, videos: VideoResults, world: World, waiting: Waiting
) -> Metrics | SeveralLabelMetrics | UnlabeledMetrics:
    if not plan.labeled:
        return measure_unlabeled(videos)
    if plan.targets is None:
        return measure(videos, plan.classes)
    by_video, by_clip = own.average_precisions(plan.targets, world, waiting)
    return measure_several(videos, plan.targets, plan.classes, by_video=by_video, by_clip=by_clip)


def _check_finite(own: OwnScores, world: World) -> None:
    broken, clips = (sum(column) for column in zip(*world.gather((own.broken, len(own.shard))), strict=True))
    if broken:
        raise InputError(
            f"the scores of {broken} of {clips} clips are not finite, so the weights are broken; "
            "use an earlier checkpoint or train.precision=float32"
        )


def _custom_metrics(
    plan: EvaluationPlan, own: OwnScores, videos: VideoResults, world: World, waiting: Waiting
) -> dict[str, float]:
    """Return the values of the custom metrics, which the main process computes from the means of all videos."""
    if not plan.metrics or not plan.labeled:
        return {}
    sums = world.gather_to_main((own.results.video, own.sums))

    def values() -> dict[str, float]:
        means = torch.zeros(len(plan.labels), len(plan.classes), dtype=torch.float64)
        for numbers, part in sums:
            means[numbers] = part
        means /= videos.views[:, None]
        truth = plan.labels if plan.targets is None else plan.targets
        return custom_values(plan.metrics, means[videos.complete], truth[videos.complete])

    return on_main(world, values, waiting)


def custom_values(metrics: Mapping[str, Metric], scores: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """Return the values of custom metrics by name; NaN without videos.

    Args:
        metrics: by name.
        scores: float64 [V,K], of the scored videos.
        truth: their labels int64 [V] or targets [V,K].

    Raises:
        InputError: if a metric fails.
    """
    return {name: _custom(name, metric, scores, truth) for name, metric in metrics.items()}


def _custom(name: str, metric: Metric, scores: torch.Tensor, truth: torch.Tensor) -> float:
    if not len(scores):
        return float("nan")
    try:
        return float(metric(scores, truth))
    except Exception as error:  # a user's function may raise anything
        raise InputError(f"metric {name} failed: {type(error).__name__}: {error}", setting="metrics") from error


def _share_buffers(model: nn.Module, world: World) -> None:
    """Copy the running statistics of the first process to all."""
    if world.size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


@torch.inference_mode()
def _score(
    model: nn.Module,
    plan: EvaluationPlan,
    device: torch.device,
    path: Path | None,
    on_videos: Callable[[int], None],
) -> tuple[ScoreShard, tuple[BadVideo, ...], int]:
    """Return the scores of this process's clips, its videos that could not be decoded, and how many videos it has."""
    bad: list[BadVideo] = []
    seen: set[int] = set()
    was_training = model.training
    model.eval()
    writer = ShardWriter(len(plan.classes), path)
    try:
        for batch in on_device((part for whole in plan.batches for part in whole.split(plan.batch)), device):
            bad += batch.bad
            if len(batch):
                with autocast(device, plan.precision):
                    logits = model(plan.preprocess(batch.clips)).float()
                scores = logits.softmax(1) if plan.targets is None else logits.sigmoid()
                unknown = torch.full((len(batch), 2), float("nan"), dtype=torch.float64)
                seconds = unknown if batch.seconds is None else batch.seconds
                columns = (scores, batch.video, batch.view, batch.labels, logits, seconds)
                writer.add(ClipScores(*(column.cpu() for column in columns)))
            seen.update(batch.video.tolist(), (video.video for video in batch.bad))
            on_videos(len(seen))
    finally:
        writer.close()
        model.train(was_training)
    return writer.finish(), tuple(bad), len(seen)
