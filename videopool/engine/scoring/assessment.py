"""Further numbers of an evaluation: precision and recall of each class, calibration error, and intervals.

V videos, K classes. Only videos of which all views were scored count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

from videopool.engine.scoring.ensemble import Ensemble
from videopool.engine.scoring.evaluation import Evaluation
from videopool.engine.scoring.intervals import RESAMPLES, Interval, Outcomes, Rankings, bootstrap, wilson
from videopool.engine.scoring.score_shards import ScoreShard
from videopool.engine.scoring.scores import UnlabeledMetrics, VideoResults
from videopool.errors import InputError
from videopool.files import finite_values

THRESHOLD = 0.5  # lowest score of a predicted class, where a video may have several


@dataclasses.dataclass(frozen=True)
class Assessment:
    """The further numbers of an evaluation with labels.

    Attributes:
        macro_f1: the mean of ``f1`` over the classes with videos; NaN without any.
        ece: the expected calibration error of the most probable class; NaN if videos may have several.
        precision: by class; None if the class is never predicted.
        recall: by class; None if no video has the class.
        f1: by class; None if no video has the class and it is never predicted.
        intervals: the 95 % interval of each metric, by name.
        resamples: number of resamples of the bootstrap.
    """

    macro_f1: float
    ece: float
    precision: dict[str, float | None]
    recall: dict[str, float | None]
    f1: dict[str, float | None]
    intervals: dict[str, Interval]
    resamples: int

    def values(self) -> dict[str, Any]:
        """Return the fields by name, for JSON: None instead of NaN."""
        values: dict[str, Any] = finite_values(dataclasses.asdict(self))
        return values


def assess(
    videos: VideoResults,
    classes: Sequence[str],
    *,
    targets: torch.Tensor | None = None,
    means: Callable[[], torch.Tensor],
    resamples: int = RESAMPLES,
) -> Assessment:
    """Return the further numbers of an evaluation.

    The intervals of accuracies of videos are Wilson's, all others a bootstrap over the videos: views of a video depend
    on each other.

    Args:
        videos: the results of V videos with labels.
        classes: K names.
        targets: [V,K], 1 for each class of a video, where it may have several; else None.
        means: returns the scores of the videos, float64 [V,K]; called only if ``targets`` are given.
        resamples: number of resamples of the bootstrap; 0: only the intervals of accuracies of videos.
    """
    if targets is None:
        return _of_one_label(videos, classes, resamples)
    counted = videos.complete & (targets > 0).any(1)
    rankings = Rankings(means()[counted], targets[counted] > 0)
    predicted = rankings.scores >= THRESHOLD
    correct = (predicted & rankings.positive).sum(0)
    rates = _rates(classes, correct, rankings.positive.sum(0), predicted.sum(0))
    intervals = bootstrap(rankings.draws, len(rankings.scores), resamples)
    return Assessment(ece=float("nan"), intervals=intervals, resamples=resamples, **rates)


def assess_evaluation(evaluation: Evaluation, classes: Sequence[str], resamples: int) -> Assessment | None:
    """Return the further numbers of an evaluation; None without labels.

    With several processes, the main process calls it, and the evaluation must have kept its scores in files.
    """
    if isinstance(evaluation.metrics, UnlabeledMetrics):
        return None

    def means() -> torch.Tensor:
        return video_means(evaluation.shards, evaluation.videos)

    return assess(evaluation.videos, classes, targets=evaluation.targets, means=means, resamples=resamples)


def assess_scores(ensemble: Ensemble, resamples: int = RESAMPLES) -> Assessment:
    """Return the further numbers of stored scores (``combine_scores``).

    Args:
        ensemble: of a list with labels.
        resamples: of the bootstrap; 0: only the intervals of accuracies of videos.

    Raises:
        InputError: if the list has no labels.
    """
    if ensemble.truth is None:
        raise InputError("The scores are of a list without labels, so there is nothing to compare them with.")
    return assess(
        ensemble.videos,
        ensemble.classes,
        targets=ensemble.targets,
        means=lambda: ensemble.scores,
        resamples=resamples,
    )


def _of_one_label(videos: VideoResults, classes: Sequence[str], resamples: int) -> Assessment:
    outcomes = outcomes_of(videos, len(classes))
    hits = outcomes.labels == outcomes.predicted
    correct, total, found = (
        torch.bincount(labels, minlength=len(classes))
        for labels in (outcomes.labels[hits], outcomes.labels, outcomes.predicted)
    )
    rank = videos.label_rank[videos.complete]
    intervals = {
        name: wilson(int((rank < min(k, len(classes))).sum()), len(rank))
        for name, k in (("video_top1", 1), ("video_top5", 5))
    }
    intervals |= bootstrap(outcomes.draws, len(hits), resamples)
    ece = float(outcomes.draws(torch.ones(len(hits), 1))["ece"])
    return Assessment(ece=ece, intervals=intervals, resamples=resamples, **_rates(classes, correct, total, found))


def outcomes_of(videos: VideoResults, classes: int) -> Outcomes:
    """Return the outcomes of the videos of which all views were scored."""
    kept = videos.complete
    return Outcomes(
        labels=videos.labels[kept],
        predicted=videos.predicted[kept],
        confidence=videos.probability[kept],
        views=videos.views[kept],
        clips_top1=videos.clips_top1[kept],
        clips_top5=videos.clips_top5[kept],
        classes=classes,
    )


def _rates(classes: Sequence[str], correct: torch.Tensor, total: torch.Tensor, found: torch.Tensor) -> dict[str, Any]:
    """Return precision, recall and F1 of each class from counts [K] of correct, all, and predicted videos."""
    f1 = _ratios(classes, 2 * correct, total + found)
    known = [value for value, videos in zip(f1.values(), total.tolist(), strict=True) if value is not None and videos]
    return {
        "macro_f1": sum(known) / len(known) if known else float("nan"),
        "precision": _ratios(classes, correct, found),
        "recall": _ratios(classes, correct, total),
        "f1": f1,
    }


def _ratios(classes: Sequence[str], parts: torch.Tensor, wholes: torch.Tensor) -> dict[str, float | None]:
    pairs = zip(classes, parts.tolist(), wholes.tolist(), strict=True)
    return {name: part / whole if whole else None for name, part, whole in pairs}


def video_means(shards: Sequence[ScoreShard], videos: VideoResults) -> torch.Tensor:
    """Return the mean scores over the views of each video, float64 [V,K]; NaN without a view."""
    sums = torch.zeros(len(videos.views), shards[0].stored.shape[1], dtype=torch.float64)
    for shard in shards:
        for part, scores in shard.chunks():
            sums.index_add_(0, shard.video[part], scores.double())
    return sums / videos.views[:, None]
