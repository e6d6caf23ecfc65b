"""Metrics from clip scores: clip-level, video-level and per class.

Scores are probabilities: softmax where a video has one class, the sigmoid of each class where it may have several.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from videopool.files import finite_values
from videopool.types import VideoScores


@dataclasses.dataclass(frozen=True)
class ClipScores:
    """The scores of N clips.

    Attributes:
        scores: probabilities, float32 [N,K].
        video, view, labels: int64 [N].
        logits: what the network returned, float32 [N,K].
        seconds: float64 [N,2], start and end of each clip (``Clip.seconds``); NaN where they are not known.
    """

    scores: torch.Tensor
    video: torch.Tensor
    view: torch.Tensor
    labels: torch.Tensor
    logits: torch.Tensor
    seconds: torch.Tensor


def label_ranks(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return how many classes rank before the label in each row of ``scores`` [N,K], int64 [N].

    Among equal scores the lower class index ranks first, so that constant scores are not always correct. The label has
    the rank K if there is none (-1), or if the scores are NaN.
    """
    classes = scores.shape[1]
    own = scores.gather(1, labels.clamp(min=0)[:, None])
    earlier = torch.arange(classes)[None, :] < labels[:, None]
    beats = ~(scores < own) & ~((scores == own) & ~earlier)
    unknown = (labels < 0) | own[:, 0].isnan()
    return beats.sum(1).masked_fill(unknown, classes)


def top_k(scores: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    """Return the fraction of rows of ``scores`` [N,K] whose label is among the k highest; NaN without rows.

    Equal scores rank as in ``label_ranks``. A NaN score of the label's class is never correct.
    """
    if len(labels) == 0:
        return float("nan")
    return float((label_ranks(scores, labels) < min(k, scores.shape[1])).double().mean())


@dataclasses.dataclass(frozen=True)
class VideoResults:
    """The results of V videos whose clips were scored: a few numbers for each, whatever the number of classes.

    Attributes:
        video: int64 [V], the position of each video in the list.
        views: int64 [V], scored views.
        labels: int64 [V].
        predicted: int64 [V], the class with the largest sum of probabilities.
        probability: float64 [V], the mean probability of that class; NaN without a view.
        label_rank: int64 [V], how many classes have a larger sum than the label (``label_ranks``).
        clips_top1, clips_top5: int64 [V], views whose label is among the one or five most probable classes.
        expected_views: the number of views of a complete video; 0 for sliding windows, all of which are scored or none.
    """

    video: torch.Tensor
    views: torch.Tensor
    labels: torch.Tensor
    predicted: torch.Tensor
    probability: torch.Tensor
    label_rank: torch.Tensor
    clips_top1: torch.Tensor
    clips_top5: torch.Tensor
    expected_views: int

    @staticmethod
    def of(videos: VideoScores, *, clips: tuple[torch.Tensor, torch.Tensor], video: torch.Tensor) -> VideoResults:
        """Return the results of ``videos``.

        Args:
            videos: the sums of the scores of V videos.
            clips: int64 [V] each, the views with a correct top-1 and top-5.
            video: int64 [V], the position of each video in the list.
        """
        sums = videos.sums
        predicted = sums.argmax(1)
        return VideoResults(
            video=video,
            views=videos.views,
            labels=videos.labels,
            predicted=predicted,
            probability=sums.gather(1, predicted[:, None])[:, 0] / videos.views,
            label_rank=label_ranks(sums, videos.labels),
            clips_top1=clips[0],
            clips_top5=clips[1],
            expected_views=videos.expected_views,
        )

    @staticmethod
    def joined(parts: Sequence[VideoResults], labels: torch.Tensor) -> VideoResults:
        """Return the results of all videos, whose labels are ``labels``; those in no part have no view.

        Raises:
            ValueError: if a video is in two parts.
        """
        owner = torch.cat([part.video for part in parts])
        twice = torch.bincount(owner, minlength=len(labels)) > 1
        if twice.any():
            raise ValueError(f"video {int(twice.int().argmax())} was scored by two processes; all its views need one")
        whole = VideoResults._without_views(labels, parts[0].expected_views)
        for field in dataclasses.fields(VideoResults):
            if field.name not in ("video", "labels", "expected_views"):
                getattr(whole, field.name)[owner] = torch.cat([getattr(part, field.name) for part in parts])
        return whole

    @staticmethod
    def _without_views(labels: torch.Tensor, expected_views: int) -> VideoResults:
        zeros = [torch.zeros_like(labels) for _ in range(5)]
        nan = torch.full_like(labels, float("nan"), dtype=torch.float64)
        views, predicted, rank, top1, top5 = zeros
        return VideoResults(torch.arange(len(labels)), views, labels, predicted, nan, rank, top1, top5, expected_views)

    @property
    def complete(self) -> torch.Tensor:
        """bool [V]: whether every view of the video was scored."""
        return self.views == self.expected_views if self.expected_views else self.views > 0


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


def truth_of(
    metrics: Metrics | SeveralLabelMetrics | UnlabeledMetrics, labels: torch.Tensor, targets: torch.Tensor | None
) -> torch.Tensor | None:
    """Return ``labels`` [V] or, where videos may have several classes, ``targets`` [V,K]; None without labels."""
    if isinstance(metrics, UnlabeledMetrics):
        return None
    return labels if targets is None else targets


def measure_unlabeled(videos: VideoResults) -> UnlabeledMetrics:
    """Return how much was scored. A video counts if all of its views were scored, else as ``unscored``."""
    scored = videos.complete
    return UnlabeledMetrics(
        clips=int(videos.views[scored].sum()),
        videos=len(scored),
        unscored=int((~scored).sum()),
        views=videos.expected_views,
    )


def measure(videos: VideoResults, classes: tuple[str, ...]) -> Metrics:
    """Return clip- and video-level accuracy of the videos whose views were all scored; the others are ``unscored``."""
    scored = videos.complete
    labels, predicted, rank = videos.labels[scored], videos.predicted[scored], videos.label_rank[scored]
    clips = int(videos.views[scored].sum())
    confusion = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    confusion.index_put_((labels, predicted), torch.ones_like(labels), accumulate=True)
    per_class = [row[i].item() / row.sum().item() if row.sum() else None for i, row in enumerate(confusion)]
    present = [value for value in per_class if value is not None]
    return Metrics(
        clip_top1=_fraction(int(videos.clips_top1[scored].sum()), clips),
        clip_top5=_fraction(int(videos.clips_top5[scored].sum()), clips),
        video_top1=_fraction(int((rank < 1).sum()), len(rank)),
        video_top5=_fraction(int((rank < min(5, len(classes))).sum()), len(rank)),
        mean_class_accuracy=sum(present) / len(present) if present else float("nan"),
        top5_k=min(5, len(classes)),
        clips=clips,
        videos=len(scored),
        unscored=int((~scored).sum()),
        views=videos.expected_views,
        per_class=dict(zip(classes, per_class, strict=True)),
        confusion=confusion.tolist(),
    )


def _fraction(correct: int, total: int) -> float:
    return correct / total if total else float("nan")


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
    videos: VideoResults,
    targets: torch.Tensor,
    classes: tuple[str, ...],
    *,
    by_video: Sequence[float],
    by_clip: Sequence[float],
) -> SeveralLabelMetrics:
    """Return clip- and video-level mean average precision.

    A video counts if all of its views were scored; the others are ``unscored``.

    Args:
        videos: the results of V videos.
        targets: [V,K], 1 for each class of a video.
        classes: the K names.
        by_video, by_clip: the average precision of each class over the videos that count and over their clips; NaN for
            a class that none of them has.
    """
    labeled = (targets > 0).any(1)
    counted = videos.complete & labeled
    known = finite_values(by_video)
    return SeveralLabelMetrics(
        clip_map=_mean_of_known(by_clip),
        video_map=_mean_of_known(by_video),
        absent_classes=known.count(None),
        clips=int(videos.views[counted].sum()),
        videos=len(labeled),
        unscored=int((~videos.complete).sum()),
        unlabeled=int((videos.complete & ~labeled).sum()),
        views=videos.expected_views,
        per_class=dict(zip(classes, known, strict=True)),
    )


def _mean_of_known(values: Sequence[float]) -> float:
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")
