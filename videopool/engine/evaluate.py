"""One evaluation for all: 1x1 validation during training and K clips x 3 crops testing differ in the loader only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
from torch import nn

from videopool.engine.distributed import World
from videopool.engine.scores import ClipScores, Metrics, measure, video_scores
from videopool.errors import InputError
from videopool.types import BadVideo, Batch

Prepare = Callable[[torch.Tensor], torch.Tensor]  # uint8 [B,C,T,H,W] -> float32 [B,C,T,H,W], on the same device


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is evaluated: this process's ``batches``, and what all processes' batches make up together.

    ``labels`` int64 [V] of all videos, ``views`` of a complete video, ``batch`` clips at most in a forward pass.
    """

    batches: Iterable[Batch]
    labels: torch.Tensor
    classes: tuple[str, ...]
    views: int
    batch: int


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result, the same on every process."""

    metrics: Metrics
    clips: ClipScores
    bad: tuple[BadVideo, ...]


def evaluate(
    model: nn.Module,
    plan: Plan,
    *,
    prepare: Prepare,
    world: World,
    bfloat16: bool = False,
    on_batch: Callable[[Batch], None] = lambda batch: None,
) -> Evaluation:
    """Scores every view of every video once and measures. Videos that cannot be decoded are listed, never replaced.

    Each process scores its own part; scores meet keyed by (video, view) and are summed in that order, so the
    result does not depend on the number of processes or workers, nor on the batch size beyond the rounding of the
    network's own arithmetic.
    """
    _share_buffers(model, world)
    clips, bad = _score(model, plan, prepare, world.device, bfloat16, on_batch)
    clips = ClipScores.joined(world.gather(clips))
    bad = tuple(sorted((b for part in world.gather(bad) for b in part), key=lambda b: b.video))
    broken = int((~torch.isfinite(clips.scores)).any(1).sum())
    if broken:
        raise InputError(
            f"the scores of {broken} of {len(clips.scores)} clips are not finite, so the weights are broken; "
            "use an earlier checkpoint or train.precision=float32"
        )
    videos = video_scores(clips, labels=plan.labels, classes=len(plan.classes), views=plan.views)
    return Evaluation(measure(clips, videos, plan.classes), clips, bad)


def _share_buffers(model: nn.Module, world: World) -> None:
    """Every process evaluates with the running statistics of the first."""
    if world.size > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


@torch.inference_mode()
def _score(
    model: nn.Module,
    plan: Plan,
    prepare: Prepare,
    device: torch.device,
    bfloat16: bool,
    on_batch: Callable[[Batch], None],
) -> tuple[ClipScores, tuple[BadVideo, ...]]:
    none = torch.empty(0, dtype=torch.int64)
    parts = [ClipScores(torch.empty(0, len(plan.classes)), none, none, none)]
    bad: list[BadVideo] = []
    was_training = model.training
    model.eval()
    try:
        for batch in plan.batches:
            bad += batch.bad
            for start in range(0, len(batch), plan.batch):
                part = slice(start, start + plan.batch)
                with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                    logits = model(prepare(batch.clips[part].to(device, non_blocking=True)))
                scores = logits.float().softmax(1).cpu()
                parts.append(ClipScores(scores, batch.video[part], batch.view[part], batch.labels[part]))
            on_batch(batch)
    finally:
        model.train(was_training)
    return ClipScores.joined(parts), tuple(bad)
