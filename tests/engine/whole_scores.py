"""The evaluation of all clips at once, in one process: the reference for the one that is spread over processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from videopool.engine.scoring.evaluation import EvaluationPlan
from videopool.engine.scoring.scores import ClipScores, average_precision
from videopool.types import VideoScores


def score_all(model: nn.Module, plan: EvaluationPlan) -> ClipScores:
    """Return the scores of all clips but those of bad videos, sorted by video and view, each pair once."""
    bad = [video.video for batch in plan.batches for video in batch.bad]
    batches = [part for batch in plan.batches for part in batch.split(plan.batch) if len(part)]
    logits = [model(plan.preprocess(batch.clips)).float() for batch in batches]
    none = torch.empty(0, dtype=torch.int64)
    empty = torch.empty(0, len(plan.classes))
    parts = [ClipScores(empty, none, none, none, empty, unknown_seconds(0))]
    for one, batch in zip(logits, batches, strict=True):
        scores = one.softmax(1) if plan.targets is None else one.sigmoid()
        parts.append(ClipScores(scores, batch.video, batch.view, batch.labels, one, unknown_seconds(len(one))))
    whole = joined(parts)
    return rows_of(whole, ~torch.isin(whole.video, torch.tensor(bad, dtype=torch.int64)))


def unknown_seconds(clips: int) -> torch.Tensor:
    return torch.full((clips, 2), float("nan"), dtype=torch.float64)


def joined(parts: Sequence[ClipScores]) -> ClipScores:
    names = [field.name for field in dataclasses.fields(ClipScores)]
    whole = ClipScores(*(torch.cat([getattr(part, name) for part in parts]) for name in names))
    pairs = sorted({pair: row for row, pair in reversed([*enumerate(keys_of(whole))])}.items())
    return rows_of(whole, torch.tensor([row for _, row in pairs], dtype=torch.int64))


def keys_of(clips: ClipScores) -> list[tuple[int, int]]:
    return list(zip(clips.video.tolist(), clips.view.tolist(), strict=True))


def rows_of(clips: ClipScores, rows: torch.Tensor) -> ClipScores:
    return ClipScores(*(getattr(clips, field.name)[rows] for field in dataclasses.fields(ClipScores)))


def video_scores(clips: ClipScores, *, labels: torch.Tensor, classes: int, views: int) -> VideoScores:
    """Return the sums of the probabilities of the views of all videos, scored or not."""
    sums = torch.zeros(len(labels), classes, dtype=torch.float64)
    sums.index_add_(0, clips.video, clips.scores.double())
    counts = torch.bincount(clips.video, minlength=len(labels))
    return VideoScores(sums=sums, views=counts, labels=labels, expected_views=views)


def metrics_of(clips: ClipScores, plan: EvaluationPlan) -> dict[str, Any]:
    """Return the fields of the metrics of ``plan``, computed from the scores of all clips, and its further metrics."""
    videos = video_scores(clips, labels=plan.labels, classes=len(plan.classes), views=plan.views)
    scored, means = videos.complete, videos.sums / videos.views[:, None]
    counts = {"videos": len(scored), "unscored": int((~scored).sum()), "views": plan.views}
    truth = plan.labels if plan.targets is None else plan.targets
    custom = {name: float(metric(means[scored], truth[scored])) for name, metric in plan.metrics.items()}
    if plan.targets is None:
        return {**_accuracies(clips, videos.sums, videos.labels, scored, plan.classes), **counts, "custom": custom}
    return {**_precisions(clips, means, scored, plan), **counts, "custom": custom}


def _accuracies(
    clips: ClipScores, sums: torch.Tensor, labels: torch.Tensor, scored: torch.Tensor, classes: Sequence[str]
) -> dict[str, Any]:
    sums, labels, counted = sums[scored], labels[scored], scored[clips.video]
    confusion = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    confusion.index_put_((labels, sums.argmax(1)), torch.ones_like(labels), accumulate=True)
    per_class = [row[i].item() / row.sum().item() if row.sum() else None for i, row in enumerate(confusion)]
    present = [value for value in per_class if value is not None]
    return {
        "clip_top1": _top_k(clips.scores[counted], clips.labels[counted], 1),
        "clip_top5": _top_k(clips.scores[counted], clips.labels[counted], 5),
        "video_top1": _top_k(sums, labels, 1),
        "video_top5": _top_k(sums, labels, 5),
        "mean_class_accuracy": sum(present) / len(present) if present else float("nan"),
        "top5_k": min(5, len(classes)),
        "clips": int(counted.sum()),
        "per_class": dict(zip(classes, per_class, strict=True)),
        "confusion": confusion.tolist(),
    }


def _top_k(scores: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    """Return the fraction of rows whose label is among the k first of a sort by score, then by class."""
    rows = zip(scores.tolist(), labels.tolist(), strict=True)
    correct = [label in sorted(range(len(row)), key=lambda c: (-row[c], c))[:k] for row, label in rows]
    return float(np.mean(correct)) if correct else float("nan")


def _precisions(clips: ClipScores, means: torch.Tensor, scored: torch.Tensor, plan: EvaluationPlan) -> dict[str, Any]:
    assert plan.targets is not None
    positive = plan.targets > 0
    labeled = positive.any(1)
    counted = scored & labeled
    rows = counted[clips.video]
    by_video = [average_precision(means[counted, k], positive[counted, k]) for k in range(len(plan.classes))]
    wide = positive[clips.video[rows]]
    by_clip = [average_precision(clips.scores[rows, k], wide[:, k]) for k in range(len(plan.classes))]
    known = [None if value != value else value for value in by_video]
    return {
        "clip_map": _mean(by_clip),
        "video_map": _mean(by_video),
        "absent_classes": known.count(None),
        "clips": int(rows.sum()),
        "unlabeled": int((scored & ~labeled).sum()),
        "per_class": dict(zip(plan.classes, known, strict=True)),
    }


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")
