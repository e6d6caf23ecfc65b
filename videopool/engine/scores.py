"""Metrics from clip scores: clip-level, video-level and per class.

Scores are probabilities: softmax where a video has one class, the sigmoid of each class where it may have several.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from videopool.types import VideoScores


@dataclasses.dataclass(frozen=True)
class ClipScores:
    """The scores of N clips, sorted by (video, view), each pair once.

    Attributes:
        scores: probabilities, float32 [N,K].
        video, view, labels: int64 [N].
    """

    scores: torch.Tensor
    video: torch.Tensor
    view: torch.Tensor
    labels: torch.Tensor

    @staticmethod
    def joined(parts: list[ClipScores]) -> ClipScores:
        """Return all parts as one, sorted, with each (video, view) once."""
        names = [field.name for field in dataclasses.fields(ClipScores)]
        whole = ClipScores(*(torch.cat([getattr(part, name) for part in parts]) for name in names))
        video, view = whole.video.numpy(), whole.view.numpy()
        order = np.lexsort((view, video))
        keys = np.stack([video, view], axis=1)[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = (keys[1:] != keys[:-1]).any(axis=1)
        return whole._rows(torch.from_numpy(order[first]))

    def without(self, videos: Sequence[int]) -> ClipScores:
        """Return the clips of all other videos."""
        return self._rows(~torch.isin(self.video, torch.tensor(videos, dtype=torch.int64)))

    def _rows(self, kept: torch.Tensor) -> ClipScores:
        return ClipScores(self.scores[kept], self.video[kept], self.view[kept], self.labels[kept])


def video_scores(clips: ClipScores, *, labels: torch.Tensor, classes: int, views: int) -> VideoScores:
    """Return the sums of the probabilities of each video's views in float64.

    ``labels`` int64 [V] are those of all videos, scored or not; ``views`` is ``VideoScores.expected_views``.
    """
    sums = torch.zeros(len(labels), classes, dtype=torch.float64)
    sums.index_add_(0, clips.video, clips.scores.double())
    counts = torch.bincount(clips.video, minlength=len(labels))
    return VideoScores(sums=sums, views=counts, labels=labels, expected_views=views)


def top_k(scores: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    """Return the fraction of rows of ``scores`` [N,K] whose label is among the k highest; NaN without rows.

    Among equal scores the lower class index ranks first, so that constant scores are not always correct. A NaN score of
    the label's class is never correct.
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
    """Accuracies of the scored videos, 0 to 1. ``top5_k`` is 5, or the number of classes if that is smaller."""

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

    @property
    def score(self) -> float:
        """The number that checkpoints are compared by: ``video_top1``."""
        return self.video_top1

    @property
    def headline(self) -> str:
        """The most important numbers as text."""
        return f"video top-1 {self.video_top1:.3f}  mean class {self.mean_class_accuracy:.3f}"


@dataclasses.dataclass(frozen=True)
class SeveralLabelMetrics:
    """Mean average precision, 0 to 1, of videos that may have several classes.

    The mean is over the classes that some scored video has; ``absent_classes`` counts the others. Videos without any
    class (``unlabeled``) are left out, as in the evaluation of Charades (Sigurdsson et al., ECCV 2016).
    """

    clip_map: float
    video_map: float
    absent_classes: int
    clips: int
    videos: int
    unscored: int
    unlabeled: int
    views: int
    per_class: dict[str, float | None]  # average precision, video-level; None: no video of that class

    @property
    def score(self) -> float:
        """The number that checkpoints are compared by: ``video_map``."""
        return self.video_map

    @property
    def headline(self) -> str:
        """The most important number as text."""
        return f"video mAP {self.video_map:.3f}"


@dataclasses.dataclass(frozen=True)
class UnlabeledMetrics:
    """Counts of scored clips and videos of a list without labels."""

    clips: int
    videos: int
    unscored: int
    views: int

    @property
    def score(self) -> float:
        """NaN: checkpoints cannot be compared."""
        return float("nan")

    @property
    def headline(self) -> str:
        """A note in place of numbers."""
        return "no labels, no accuracy"


def measure_unlabeled(clips: ClipScores, videos: VideoScores) -> UnlabeledMetrics:
    """Return how much was scored. A video counts if all of its views were scored, else as ``unscored``."""
    scored = videos.complete
    return UnlabeledMetrics(
        clips=int(scored[clips.video].sum()),
        videos=len(scored),
        unscored=int((~scored).sum()),
        views=videos.expected_views,
    )


def measure(clips: ClipScores, videos: VideoScores, classes: tuple[str, ...]) -> Metrics:
    """Return clip- and video-level accuracy of the videos whose views were all scored; the others are ``unscored``."""
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


def average_precision(scores: torch.Tensor, positive: torch.Tensor) -> float:
    """Return the average precision of one class from ``scores`` [N] and ``positive`` bool [N]; NaN without positives.

    It is the mean over the positives of the precision at their rank. Equal scores share the rank of the last of them,
    so a constant score has the precision of a guess.
    """
    if not positive.any():
        return float("nan")
    order = scores.argsort(descending=True)
    falling, hits = -scores[order], positive[order].double().cumsum(0)
    rank = torch.searchsorted(falling, falling, right=True)  # of the last equal score, from 1
    return float((hits[rank - 1] / rank)[positive[order]].mean())


def measure_several(
    clips: ClipScores, videos: VideoScores, targets: torch.Tensor, classes: tuple[str, ...]
) -> SeveralLabelMetrics:
    """Return clip- and video-level mean average precision. ``targets`` [V,K] is 1 for each class of a video.

    A video counts if all of its views were scored; the others are ``unscored``.
    """
    positive = targets > 0
    labeled = positive.any(1)
    counted = videos.complete & labeled
    clip_counted = counted[clips.video]
    per_class = _average_precisions(videos.sums[counted], positive[counted])
    by_clip = _average_precisions(clips.scores[clip_counted], positive[clips.video[clip_counted]])
    known = [None if value != value else value for value in per_class]
    return SeveralLabelMetrics(
        clip_map=_mean_of_known(by_clip),
        video_map=_mean_of_known(per_class),
        absent_classes=known.count(None),
        clips=int(clip_counted.sum()),
        videos=len(videos.labels),
        unscored=int((~videos.complete).sum()),
        unlabeled=int((videos.complete & ~labeled).sum()),
        views=videos.expected_views,
        per_class=dict(zip(classes, known, strict=True)),
    )


def _average_precisions(scores: torch.Tensor, positive: torch.Tensor) -> list[float]:
    return [average_precision(*column) for column in zip(scores.unbind(1), positive.unbind(1), strict=True)]


def _mean_of_known(values: list[float]) -> float:
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")
