"""Intervals of 95 % for metrics of a sample of videos: a formula for fractions of videos, else the bootstrap.

V videos, K classes, R resamples, r of them at a time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

from videopool.ranges import AT_LEAST_ZERO

Interval = tuple[float, float]
# How often each video was drawn, float32 [V,r] -> the value of each metric in each resample, float64 [r]
Draws = Callable[[torch.Tensor], Mapping[str, torch.Tensor]]

BINS = 15  # of the calibration error
RESAMPLES = 2000
_NORMAL = 1.959963984540054  # the 97.5th percentile of the normal distribution
_PERCENTILES = (2.5, 97.5)
_AT_ONCE, _NUMBERS = 250, 8_000_000  # largest numbers of resamples, and of their draws, in memory at a time


def wilson(correct: int, total: int) -> Interval:
    """Return the Wilson interval of the fraction ``correct / total``; NaN without any.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927); recommended
    by Brown, Cai and DasGupta, Statistical Science 16 (2001), section 4.
    """
    if not total:
        return math.nan, math.nan
    fraction, square = correct / total, _NORMAL**2 / total
    center = (fraction + square / 2) / (1 + square)
    half = _NORMAL * math.sqrt(fraction * (1 - fraction) / total + square / (4 * total)) / (1 + square)
    return max(0.0, center - half), min(1.0, center + half)


def resampled(videos: int, resamples: int) -> Iterator[torch.Tensor]:
    """Yield how often each video is drawn in V draws with replacement, float32 [V,r], R resamples in all.

    The draws depend only on ``videos`` and ``resamples``.
    """
    generator = np.random.default_rng(0)
    at_once = max(1, min(_AT_ONCE, _NUMBERS // videos))
    for first in range(0, resamples, at_once):
        size = min(at_once, resamples - first)
        drawn = generator.integers(videos, size=(size, videos)) * size + np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=videos * size)
        yield torch.from_numpy(counts.reshape(videos, size).astype(np.float32))


def bootstrap(draws: Draws, videos: int, resamples: int) -> dict[str, Interval]:
    """Return the percentile interval of each metric of ``draws`` over resamples of the videos.

    A resample in which a metric is NaN does not count. The result is {} for 0 resamples or 0 videos.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), section 13.3.
    """
    AT_LEAST_ZERO.check("resamples", resamples)
    if not videos or not resamples:
        return {}
    parts = [draws(counts) for counts in resampled(videos, resamples)]
    return {name: _percentiles(torch.cat([part[name] for part in parts])) for name in parts[0]}


def _percentiles(values: torch.Tensor) -> Interval:
    known = values[~values.isnan()].numpy()
    if not len(known):
        return math.nan, math.nan
    low, high = np.percentile(known, _PERCENTILES)
    return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What happened to V videos with one label each.

    Attributes:
        labels, predicted: int64 [V].
        confidence: float64 [V], the score of the predicted class.
        views, clips_top1, clips_top5: int64 [V], scored views, and those that are correct.
        classes: K.
    """

    labels: torch.Tensor
    predicted: torch.Tensor
    confidence: torch.Tensor
    views: torch.Tensor
    clips_top1: torch.Tensor
    clips_top5: torch.Tensor
    classes: int

    def draws(self, counts: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the metrics of resamples in which the videos were drawn ``counts`` times (``Draws``).

        With counts of 1 they are the metrics of the sample.
        """
        counts = counts.double()
        clips = torch.stack([self.views, self.clips_top1, self.clips_top5]).double() @ counts
        total = _sums(counts, self.labels, self.classes)
        correct = _sums(counts * (self.labels == self.predicted)[:, None], self.labels, self.classes)
        found = _sums(counts, self.predicted, self.classes)
        known = total > 0
        return {
            "mean_class_accuracy": _mean_where(correct / total, known),
            "macro_f1": _mean_where(2 * correct / (total + found), known),
            "clip_top1": clips[1] / clips[0],
            "clip_top5": clips[2] / clips[0],
            "ece": self._calibration_errors(counts),
        }

    def _calibration_errors(self, counts: torch.Tensor) -> torch.Tensor:
        """Return the expected calibration error with ``BINS`` equal bins (Guo et al., ICML 2017, equation 3)."""
        bins = (self.confidence * BINS).ceil().long().clamp(1, BINS) - 1
        gaps = (self.labels == self.predicted).double() - self.confidence
        return _sums(counts * gaps[:, None], bins, BINS).abs().sum(0) / counts.sum(0)


def _sums(values: torch.Tensor, groups: torch.Tensor, number: int) -> torch.Tensor:
    """Return the sums of the rows of ``values`` [V,r] in each of ``number`` groups, [number,r]."""
    return torch.zeros(number, values.shape[1], dtype=values.dtype).index_add_(0, groups, values)


def _mean_where(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return the mean over the rows of ``values`` [K,r] that are ``known``, [r]; NaN without any."""
    return values.masked_fill(~known, 0).sum(0) / known.sum(0)


@dataclasses.dataclass(frozen=True)
class Rankings:
    """The scores of V videos that may have several classes, with the mean average precision of resamples.

    Attributes:
        scores: [V,K].
        positive: bool [V,K].
    """

    scores: torch.Tensor
    positive: torch.Tensor

    def draws(self, counts: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the mean average precision over the classes that some drawn video has (``Draws``)."""
        precisions = torch.stack(
            [
                average_precisions(scores, positive, counts)
                for scores, positive in zip(self.scores.T.contiguous(), self.positive.T.contiguous(), strict=True)
            ]
        )
        return {"video_map": _mean_where(precisions.nan_to_num(), ~precisions.isnan())}


def average_precisions(scores: torch.Tensor, positive: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Return ``scores.average_precision`` of one class in resamples, float64 [r]; NaN for one without positives.

    Only the sums between two ranks with positives are needed, and these are few.

    Args:
        scores: [V].
        positive: bool [V].
        counts: how often each video was drawn, float32 [V,r].
    """
    if not positive.any():
        return torch.full((counts.shape[1],), math.nan, dtype=torch.float64)
    levels = scores[positive].unique()  # ascending
    segment = len(levels) - torch.searchsorted(levels, scores, right=True)  # 0: at least the highest level
    drawn = _sums(counts, segment, len(levels) + 1)[:-1].double()
    hits = _sums(counts[positive], segment[positive], len(levels)).double()
    precision = hits.cumsum(0) / drawn.cumsum(0).clamp(min=1)
    return (hits * precision).sum(0) / hits.sum(0)
