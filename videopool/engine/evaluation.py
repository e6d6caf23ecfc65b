"""Evaluation. Validation during training and the final test differ only in the plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import torch
import torch.distributed as dist
from torch import nn

from videopool.data.loading.prefetch import on_device
from videopool.engine.distributed import World
from videopool.engine.scores import (
    ClipScores,
    Metrics,
    SeveralLabelMetrics,
    UnlabeledMetrics,
    measure,
    measure_several,
    measure_unlabeled,
    video_scores,
)
from videopool.errors import InputError
from videopool.types import BadVideo, Batch, VideoScores

Preprocess = Callable[[torch.Tensor], torch.Tensor]  # uint8 [B,C,T,H,W] -> float32 [B,C,T,H,W], on the same device
# Mean probabilities float64 [V,K] of the scored videos, and their labels int64 [V] or, where a video may have several
# classes, targets float32 [V,K] -> a number
Metric = Callable[[torch.Tensor, torch.Tensor], float]


@dataclasses.dataclass(frozen=True)
class EvaluationPlan:
    """What to evaluate, and how.

    Attributes:
        batches: the batches of this process; those of all processes make up the V videos.
        labels: int64 [V] of all videos; -1 without labels.
        classes: the K names.
        preprocess: turns uint8 clips into the input of the network.
        views: views of a complete video; 0: as many as the video is long, in sliding windows.
        batch: largest number of clips in a forward pass.
        targets: float32 [V,K], 1 for each class of a video, where it may have several; else None.
        labeled: False for a list without labels.
        bfloat16: run the forward pass under autocast.
        metrics: further metrics by name.
    """

    batches: Iterable[Batch]
    labels: torch.Tensor
    classes: tuple[str, ...]
    preprocess: Preprocess
    views: int
    batch: int
    targets: torch.Tensor | None = None
    labeled: bool = True
    bfloat16: bool = False
    metrics: Mapping[str, Metric] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result, the same on every process.

    Attributes:
        metrics: what was measured.
        clips: the scores of all clips.
        videos: the scores of all videos.
        bad: the videos that could not be decoded.
        targets: those of the plan; None without labels.
        custom: the values of the further metrics of the plan.
    """

    metrics: Metrics | SeveralLabelMetrics | UnlabeledMetrics
    clips: ClipScores
    videos: VideoScores
    bad: tuple[BadVideo, ...]
    targets: torch.Tensor | None
    custom: Mapping[str, float]


def evaluate(
    model: nn.Module,
    plan: EvaluationPlan,
    *,
    world: World,
    on_videos: Callable[[int], None] = lambda videos: None,
) -> Evaluation:
    """Score every view of every video once, and measure. Videos that cannot be decoded are listed, never replaced.

    Each process scores its own part. Scores are keyed by (video, view) and summed in that order, so the result does not
    depend on the number of processes or workers, nor on the batch size beyond the rounding of the network's own
    arithmetic. A video whose decoding fails midway counts as one that cannot be decoded: none of its views counts.

    Args:
        model: on the device of ``world``; its training mode is restored.
        plan: what to evaluate.
        world: this process among all.
        on_videos: called with the number of videos that this process has seen.

    Raises:
        InputError: if scores are not finite, or a further metric fails.
    """
    _share_buffers(model, world)
    clips, bad = _score(model, plan, world.device, on_videos)
    clips = ClipScores.joined(world.gather(clips))
    bad = tuple(sorted((b for part in world.gather(bad) for b in part), key=lambda b: b.video))
    clips = clips.without([b.video for b in bad])
    broken = int((~torch.isfinite(clips.scores)).any(1).sum())
    if broken:
        raise InputError(
            f"the scores of {broken} of {len(clips.scores)} clips are not finite, so the weights are broken; "
            "use an earlier checkpoint or train.precision=float32"
        )
    videos = video_scores(clips, labels=plan.labels, classes=len(plan.classes), views=plan.views)
    if not plan.labeled:
        return Evaluation(measure_unlabeled(clips, videos), clips, videos, bad, targets=None, custom={})
    custom = {name: _custom(name, metric, plan, videos) for name, metric in plan.metrics.items()}
    metrics: Metrics | SeveralLabelMetrics
    if plan.targets is None:
        metrics = measure(clips, videos, plan.classes)
    else:
        metrics = measure_several(clips, videos, plan.targets, plan.classes)
    return Evaluation(metrics, clips, videos, bad, plan.targets, custom)


def _custom(name: str, metric: Metric, plan: EvaluationPlan, videos: VideoScores) -> float:
    """Return the value of a further metric on the complete videos; NaN if there are none."""
    scored = videos.complete
    if not scored.any():
        return float("nan")
    truth = plan.labels if plan.targets is None else plan.targets
    try:
        return float(metric(videos.means[scored], truth[scored]))
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
    on_videos: Callable[[int], None],
) -> tuple[ClipScores, tuple[BadVideo, ...]]:
    none = torch.empty(0, dtype=torch.int64)
    parts = [ClipScores(torch.empty(0, len(plan.classes)), none, none, none)]
    bad: list[BadVideo] = []
    seen: set[int] = set()
    was_training = model.training
    model.eval()
    try:
        for batch in on_device((part for whole in plan.batches for part in whole.split(plan.batch)), device):
            bad += batch.bad
            if len(batch):
                with torch.autocast(device.type, torch.bfloat16, enabled=plan.bfloat16):
                    logits = model(plan.preprocess(batch.clips))
                scores = (logits.float().softmax(1) if plan.targets is None else logits.float().sigmoid()).cpu()
                parts.append(ClipScores(scores, batch.video.cpu(), batch.view.cpu(), batch.labels.cpu()))
            seen.update(batch.video.tolist(), (video.video for video in batch.bad))
            on_videos(len(seen))
    finally:
        model.train(was_training)
    return ClipScores.joined(parts), tuple(bad)
