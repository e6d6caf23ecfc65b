"""One evaluation for all: 1x1 validation during training and K clips x 3 crops testing differ in the loader only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

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
from videopool.types import BadVideo, Batch

Preprocess = Callable[[torch.Tensor], torch.Tensor]  # uint8 [B,C,T,H,W] -> float32 [B,C,T,H,W], on the same device


@dataclasses.dataclass(frozen=True)
class EvaluationPlan:
    """What is evaluated: this process's ``batches``, and what all processes' batches make up together.

    ``labels`` int64 [V] of all videos, ``views`` of a complete video (0: as many as it is long, in sliding windows),
    ``batch`` clips at most in a forward pass.
    ``targets`` float32 [V,K] has 1 for each class of a video, where it may have several; None where it has one.
    ``labeled`` is False for a list without labels, whose ``labels`` are -1.
    """

    batches: Iterable[Batch]
    labels: torch.Tensor
    classes: tuple[str, ...]
    views: int
    batch: int
    targets: torch.Tensor | None = None
    labeled: bool = True


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result, the same on every process; ``targets`` are those of the plan."""

    metrics: Metrics | SeveralLabelMetrics | UnlabeledMetrics
    clips: ClipScores
    bad: tuple[BadVideo, ...]
    targets: torch.Tensor | None = None


def evaluate(
    model: nn.Module,
    plan: EvaluationPlan,
    *,
    preprocess: Preprocess,
    world: World,
    bfloat16: bool = False,
    on_videos: Callable[[int], None] = lambda videos: None,
) -> Evaluation:
    """Scores every view of every video once and measures. Videos that cannot be decoded are listed, never replaced.

    Each process scores its own part; scores meet keyed by (video, view) and are summed in that order, so the
    result does not depend on the number of processes or workers, nor on the batch size beyond the rounding of the
    network's own arithmetic. A video that breaks off counts as one that cannot be decoded: none of its views does.
    ``on_videos`` is told how many videos of this process's part have come so far.
    """
    _share_buffers(model, world)
    clips, bad = _score(model, plan, preprocess, world.device, bfloat16, on_videos)
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
        return Evaluation(measure_unlabeled(clips, videos), clips, bad)
    if plan.targets is None:
        return Evaluation(measure(clips, videos, plan.classes), clips, bad)
    return Evaluation(measure_several(clips, videos, plan.targets, plan.classes), clips, bad, plan.targets)


def _share_buffers(model: nn.Module, world: World) -> None:
    """Every process evaluates with the running statistics of the first."""
    if world.size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


@torch.inference_mode()
def _score(
    model: nn.Module,
    plan: EvaluationPlan,
    preprocess: Preprocess,
    device: torch.device,
    bfloat16: bool,
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
                with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                    logits = model(preprocess(batch.clips))
                scores = (logits.float().softmax(1) if plan.targets is None else logits.float().sigmoid()).cpu()
                parts.append(ClipScores(scores, batch.video.cpu(), batch.view.cpu(), batch.labels.cpu()))
            seen.update(batch.video.tolist(), (video.video for video in batch.bad))
            on_videos(len(seen))
    finally:
        model.train(was_training)
    return ClipScores.joined(parts), tuple(bad)
