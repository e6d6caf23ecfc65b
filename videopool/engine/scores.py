"""From clip scores to metrics: clip-level, video-level, per class. Keyed by video and view, so nothing counts twice."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from videopool.types import VideoScores


@dataclasses.dataclass(frozen=True)
class ClipScores:
    """N scored clips, sorted by video then view, each pair once: ``scores`` float32 [N,K] probabilities,
    ``video``, ``view`` and ``labels`` int64 [N]."""

    scores: torch.Tensor
    video: torch.Tensor
    view: torch.Tensor
    labels: torch.Tensor

    @staticmethod
    def joined(parts: list[ClipScores]) -> ClipScores:
        """All parts as one, sorted, a (video, view) that came twice kept once."""
        video, view = (torch.cat([getattr(part, name) for part in parts]) for name in ("video", "view"))
        scores, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("scores", "labels"))
        order = np.lexsort((view.numpy(), video.numpy()))
        keys = np.stack([video.numpy(), view.numpy()], axis=1)[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
        kept = torch.from_numpy(order[first])
        return ClipScores(scores[kept], video[kept], view[kept], labels[kept])


def video_scores(clips: ClipScores, *, labels: torch.Tensor, classes: int, views: int) -> VideoScores:
    """Sums the probabilities of each video's views in float64. ``labels`` int64 [V] of all videos, scored or not."""
    sums = torch.zeros(len(labels), classes, dtype=torch.float64)
    sums.index_add_(0, clips.video, clips.scores.double())
    counts = torch.bincount(clips.video, minlength=len(labels))
    return VideoScores(sums=sums, views=counts, labels=labels, expected_views=views)


def top_k(scores: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    """Fraction of rows of ``scores`` [N,K] whose label is among the k highest (k at most K). NaN without rows.

    Of equal scores the lower class index ranks first, so that a constant predictor is not right every time; a NaN
    score of the label's class is never right.
    """
    if len(labels) == 0:
        return float("nan")
    own = scores.gather(1, labels[:, None])
    earlier = torch.arange(scores.shape[1])[None, :] < labels[:, None]
    beats = ~(scores < own) & ~((scores == own) & ~earlier)
    rank = beats.sum(1)
    return float((rank < min(k, scores.shape[1])).double().mean())


@dataclasses.dataclass(frozen=True)
class Metrics:
    """Accuracies as fractions in 0..1 over what was scored; ``top5_k`` is 5 or the number of classes if smaller."""

    clip_top1: float
    clip_top5: float
    video_top1: float
    video_top5: float
    mean_class_accuracy: float
    top5_k: int
    clips: int
    videos: int
    unscored: int
    views: int
    per_class: dict[str, float | None]  # video-level; None: no video of that class
    confusion: list[list[int]]  # videos, [label][prediction]


def measure(clips: ClipScores, videos: VideoScores, classes: tuple[str, ...]) -> Metrics:
    """Clip- and video-level accuracy. A video counts when all of its views were scored; the others are ``unscored``."""
    scored = videos.complete
    sums, labels = videos.sums[scored], videos.labels[scored]
    confusion = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    confusion.index_put_((labels, sums.argmax(1)), torch.ones_like(labels), accumulate=True)
    per_class = [row[i].item() / row.sum().item() if row.sum() else None for i, row in enumerate(confusion)]
    present = [value for value in per_class if value is not None]
    counted = scored[clips.video]
    clip_scores, clip_labels = clips.scores[counted], clips.labels[counted]
    return Metrics(
        clip_top1=top_k(clip_scores, clip_labels, 1),
        clip_top5=top_k(clip_scores, clip_labels, 5),
        video_top1=top_k(sums, labels, 1),
        video_top5=top_k(sums, labels, 5),
        mean_class_accuracy=sum(present) / len(present) if present else float("nan"),
        top5_k=min(5, len(classes)),
        clips=len(clip_labels),
        videos=len(videos.labels),
        unscored=int((~scored).sum()),
        views=videos.expected_views,
        per_class=dict(zip(classes, per_class, strict=True)),
        confusion=confusion.tolist(),
    )
