"""The numbers of a report: headline, classes, confused pairs, calibration, and wrong predictions.

V videos, K classes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from videopool.engine.scoring.assessment import THRESHOLD, outcomes_of
from videopool.engine.scoring.intervals import BINS
from videopool.report.evaluation.stored import StoredEvaluation

MOST_PAIRS = 20


@dataclasses.dataclass(frozen=True)
class Figure:
    """A number of the headline, 0 to 1, and its 95 % interval; None where there is none."""

    name: str
    value: float | None
    interval: tuple[float, float] | None
    meaning: str


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """A class: numbers of videos, and rates 0 to 1; None where a rate has no value or there are no labels."""

    name: str
    videos: int | None
    predicted: int
    rates: tuple[float | None, ...]


@dataclasses.dataclass(frozen=True)
class Pair:
    """``videos`` of class ``label``, a part ``share`` of all of them, were predicted as ``predicted``."""

    label: str
    predicted: str
    videos: int
    share: float


@dataclasses.dataclass(frozen=True)
class Bin:
    """The videos whose most probable class has a probability in (low, high]; NaN without videos."""

    low: float
    high: float
    videos: int
    probability: float
    accuracy: float


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A prediction to look at: the video's position in the list, its classes, and the predicted class."""

    video: int
    name: str
    labels: tuple[str, ...]
    predicted: str
    probability: float


def headline(stored: StoredEvaluation) -> list[Figure]:
    """Return the most important numbers; [] without labels."""
    metrics, intervals = stored.metrics, stored.metrics.get("intervals", {})
    top = metrics.get("top5_k", 5)
    names = [
        ("Top-1", "video_top1", "videos whose label is the most probable class"),
        (f"Top-{top}", "video_top5", f"videos whose label is among the {top} most probable classes"),
        ("Mean class accuracy", "mean_class_accuracy", "mean over the classes of the top-1 accuracy"),
        ("mAP", "video_map", "mean over the classes of the average precision of videos"),
        ("Macro F1", "macro_f1", "mean over the classes of F1"),
        ("Calibration error", "ece", f"expected calibration error, {BINS} bins"),
        ("Clip top-1", "clip_top1", "views whose label is the most probable class"),
        (f"Clip top-{top}", "clip_top5", f"views whose label is among the {top} most probable classes"),
        ("Clip mAP", "clip_map", "mean over the classes of the average precision of views"),
    ]
    figures = [
        Figure(name, metrics[key], _pair(intervals.get(key)), about) for name, key, about in names if key in metrics
    ]
    figures += [Figure(name, value, None, "custom metric") for name, value in metrics.get("custom", {}).items()]
    return [figure for figure in figures if figure.value is not None]


def _pair(interval: Any) -> tuple[float, float] | None:
    return None if interval is None or None in interval else (interval[0], interval[1])


def rate_names(stored: StoredEvaluation) -> tuple[str, ...]:
    """Return the names of ``ClassRow.rates``."""
    if not stored.labeled:
        return ()
    return (
        ("Average precision", "Precision", "Recall", "F1") if stored.several_labels else ("Precision", "Recall", "F1")
    )


def class_rows(stored: StoredEvaluation) -> list[ClassRow]:
    """Return the K classes in their order."""
    metrics, ensemble = stored.metrics, stored.ensemble
    complete = ensemble.videos.complete
    tables = [metrics[key] for key in ("precision", "recall", "f1")] if stored.labeled else []
    if stored.several_labels:
        predicted = (ensemble.scores[complete] >= THRESHOLD).sum(0)
        tables = [metrics["per_class"], *tables] if stored.labeled else []
    else:
        predicted = torch.bincount(ensemble.videos.predicted[complete], minlength=len(stored.classes))
    videos = _videos_of_classes(stored)
    return [
        ClassRow(name, videos[number], int(predicted[number]), tuple(table[name] for table in tables))
        for number, name in enumerate(stored.classes)
    ]


def _videos_of_classes(stored: StoredEvaluation) -> list[int] | list[None]:
    truth, complete = stored.ensemble.truth, stored.ensemble.videos.complete
    if truth is None:
        return [None] * len(stored.classes)
    counts = (
        truth[complete].sum(0) if truth.dim() == 2 else torch.bincount(truth[complete], minlength=len(stored.classes))
    )
    return [int(count) for count in counts]


def confused_pairs(confusion: list[list[int]], classes: tuple[str, ...]) -> list[Pair]:
    """Return the pairs of different classes with the most videos, at most ``MOST_PAIRS``; then by share and order."""
    pairs = [
        Pair(classes[row], classes[column], count, count / sum(counts))
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if count and row != column
    ]
    return sorted(pairs, key=lambda pair: (-pair.videos, -pair.share))[:MOST_PAIRS]


def calibration(stored: StoredEvaluation) -> list[Bin]:
    """Return the bins of the expected calibration error, those with videos; [] where there is none."""
    if not stored.labeled or stored.several_labels:
        return []
    outcomes = outcomes_of(stored.ensemble.videos, len(stored.classes))
    bins = (outcomes.confidence * BINS).ceil().long().clamp(1, BINS) - 1
    correct = (outcomes.labels == outcomes.predicted).double()
    videos = torch.bincount(bins, minlength=BINS)
    sums = [torch.bincount(bins, weights=values, minlength=BINS) for values in (outcomes.confidence, correct)]
    return [
        Bin(k / BINS, (k + 1) / BINS, int(videos[k]), float(sums[0][k] / videos[k]), float(sums[1][k] / videos[k]))
        for k in range(BINS)
        if videos[k]
    ]


def notable_predictions(stored: StoredEvaluation, most: int) -> list[Prediction]:
    """Return the wrong predictions with the highest scores; without labels, the predictions with the lowest scores.

    Where videos may have several classes, a wrong prediction is the highest score of a class that the video does not
    have, if it is at least ``THRESHOLD``.
    """
    videos, scores = stored.ensemble.videos, stored.ensemble.scores
    truth = stored.ensemble.truth
    predicted, probability, wrong = videos.predicted, videos.probability, videos.complete.clone()
    if stored.several_labels and truth is not None:
        probability, predicted = scores.masked_fill(truth > 0, -1.0).max(1)
        wrong &= probability >= THRESHOLD
    elif truth is not None:
        wrong &= predicted != truth
    rows = wrong.nonzero().flatten()
    order = probability[rows].argsort(descending=truth is not None, stable=True)
    return [
        _prediction(stored, int(video), int(predicted[video]), float(probability[video]))
        for video in rows[order][:most]
    ]


def _prediction(stored: StoredEvaluation, video: int, predicted: int, probability: float) -> Prediction:
    truth, classes = stored.ensemble.truth, stored.classes
    labels: list[int] = []
    if truth is not None:
        labels = truth[video].nonzero().flatten().tolist() if truth.dim() == 2 else [int(truth[video])]
    names = tuple(classes[label] for label in labels)
    return Prediction(video, stored.files[0].names[video], names, classes[predicted], probability)
