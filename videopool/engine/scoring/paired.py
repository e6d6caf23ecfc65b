"""Comparison of two evaluations of the same videos.

V videos, K classes.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from videopool.engine.scoring.ensemble import Ensemble
from videopool.engine.scoring.intervals import RESAMPLES, Interval, Rankings, bootstrap
from videopool.engine.scoring.score_file import check_same_list
from videopool.errors import InputError


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The difference between two evaluations on the videos that both scored.

    Attributes:
        metric: ``video_top1``, or ``video_map`` where videos may have several classes.
        videos: the number of videos.
        first, second: the metric of each.
        difference: ``first - second``.
        interval: of 95 %, of the difference, by a paired bootstrap over the videos; NaN without resamples.
        only_first, only_second: videos that only one predicts correctly; 0 for ``video_map``.
        p_value: of McNemar's exact test that both are correct equally often; NaN for ``video_map``.
    """

    metric: str
    videos: int
    first: float
    second: float
    difference: float
    interval: Interval
    only_first: int
    only_second: int
    p_value: float

    def __str__(self) -> str:
        """The comparison as one or two sentences."""
        name = "top-1" if self.metric == "video_top1" else "mAP"
        text = f"video-level {name} {100 * self.first:.2f} % against {100 * self.second:.2f} %"
        text += f": {100 * self.difference:+.2f} points"
        if not math.isnan(self.interval[0]):
            text += f", 95 % interval {100 * self.interval[0]:+.2f} to {100 * self.interval[1]:+.2f}"
        if math.isnan(self.p_value):
            return f"{text} ({self.videos} videos)"
        return (
            f"{text} ({self.videos} videos). Only the first is correct on {self.only_first}, only the second on "
            f"{self.only_second}; McNemar's exact test: p = {self.p_value:.3g}"
        )


def compare_scores(first: Ensemble, second: Ensemble, resamples: int = RESAMPLES) -> Comparison:
    """Return how ``first`` and ``second`` (``combine_scores``), of the same list and classes, differ.

    Args:
        first, second: evaluations with labels.
        resamples: of the bootstrap; 0: no interval.

    Raises:
        InputError: for other lists or classes, without labels, or if no video was scored by both.
    """
    check_same_list([first.files[0], second.files[0]])
    if first.truth is None:
        raise InputError("Two evaluations of a list without labels cannot be compared.")
    both = first.videos.complete & second.videos.complete
    if first.targets is not None:
        both &= (first.targets > 0).any(1)
    if not both.any():
        raise InputError("No video was scored in both evaluations.")
    if first.targets is not None:
        return _of_several_labels(first, second, first.targets > 0, both, resamples)
    hits = [(ensemble.videos.label_rank[both] < 1).double() for ensemble in (first, second)]
    gains = hits[0] - hits[1]
    only_first, only_second = int((gains > 0).sum()), int((gains < 0).sum())
    found = bootstrap(lambda counts: {"gain": (gains @ counts.double()) / len(gains)}, len(gains), resamples)
    means = [float(hit.mean()) for hit in hits]
    return Comparison(
        metric="video_top1",
        videos=len(gains),
        first=means[0],
        second=means[1],
        difference=(only_first - only_second) / len(gains),
        interval=found.get("gain", (math.nan, math.nan)),
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar(only_first, only_second),
    )


def _of_several_labels(
    first: Ensemble, second: Ensemble, positive: torch.Tensor, both: torch.Tensor, resamples: int
) -> Comparison:
    rankings = [Rankings(ensemble.scores[both], positive[both]) for ensemble in (first, second)]
    videos = int(both.sum())

    def draws(counts: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = [ranking.draws(counts)["video_map"] for ranking in rankings]
        return {"gain": maps[0] - maps[1]}

    means = [float(ranking.draws(torch.ones(videos, 1))["video_map"]) for ranking in rankings]
    return Comparison(
        metric="video_map",
        videos=videos,
        first=means[0],
        second=means[1],
        difference=means[0] - means[1],
        interval=bootstrap(draws, videos, resamples).get("gain", (math.nan, math.nan)),
        only_first=0,
        only_second=0,
        p_value=math.nan,
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test from the numbers of pairs that differ.

    It is the probability of a split at least as uneven if each pair falls on either side with probability 1/2.

    Source: McNemar, Psychometrika 12 (1947); the exact form in Dietterich, Neural Computation 10 (1998), section 3.1.
    """
    pairs, fewer = only_first + only_second, min(only_first, only_second)
    logs = (
        math.lgamma(pairs + 1) - math.lgamma(k + 1) - math.lgamma(pairs - k + 1) - pairs * math.log(2)
        for k in range(fewer + 1)
    )
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))
