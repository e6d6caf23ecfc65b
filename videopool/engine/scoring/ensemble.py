"""Metrics of stored scores: of one evaluation, or of several that are combined into an ensemble.

V videos, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch

from videopool.engine.cluster.distributed import World
from videopool.engine.scoring.own_scores import OwnScores, class_average_precisions
from videopool.engine.scoring.score_file import ScoreFile, check_same_list
from videopool.engine.scoring.scores import (
    Metrics,
    SeveralLabelMetrics,
    UnlabeledMetrics,
    VideoResults,
    label_ranks,
    measure,
    measure_several,
    measure_unlabeled,
    truth_of,
)
from videopool.errors import InputError

Average = Literal["probabilities", "logits", "maximum"]
_ALONE = World(0, 1, torch.device("cpu"))
_VIEWS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 45, 60, 90)  # numbers of views of the curve


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """The combined scores of one or more evaluations, and their metrics.

    Attributes:
        metrics: computed from all files. Clip-level metrics are those of the clips of all files.
        videos: a video is complete if it is in every file.
        scores: float64 [V,K], the scores of the videos; not meaningful for incomplete ones.
        targets: [V,K], where videos may have several classes; None otherwise, and without labels.
        files: the evaluations.
    """

    metrics: Metrics | SeveralLabelMetrics | UnlabeledMetrics
    videos: VideoResults
    scores: torch.Tensor
    targets: torch.Tensor | None
    files: tuple[ScoreFile, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The K names."""
        return self.files[0].classes

    @property
    def truth(self) -> torch.Tensor | None:
        """The labels [V] or targets [V,K]; None without labels."""
        return truth_of(self.metrics, self.videos.labels, self.targets)


def combine_scores(files: Sequence[ScoreFile], average: Average = "probabilities") -> Ensemble:
    """Combine the scores of one or more evaluations of the same list. Each has the same weight.

    Args:
        files: the evaluations; they may have different numbers of views.
        average: ``probabilities``: the mean over the views, then over the files, as in an evaluation; ``logits``: the
            same means of the logits, before the softmax or sigmoid; ``maximum``: the largest probability of each class
            over all views and files.

    Raises:
        InputError: if the files are of different lists or classes.
    """
    check_same_list(files)
    own = [file.own_scores() for file in files]
    scores = _scores(files, own, average)
    videos = _results(files[0], own, scores, average)
    metrics = _metrics(files, videos, scores)
    return Ensemble(metrics, videos, scores, files[0].targets, tuple(files))


def _scores(files: Sequence[ScoreFile], own: Sequence[OwnScores], average: Average) -> torch.Tensor:
    """Return the scores of the videos, float64 [V,K]."""
    whole = torch.zeros(len(files[0].names), len(files[0].classes), dtype=torch.float64)
    for scores in own:
        video, views = scores.results.video, scores.results.views[:, None]
        if average == "maximum":
            whole[video] = torch.maximum(whole[video], _maxima(scores))
        elif average == "logits":
            whole[video] += _logit_sums(scores) / views / len(own)
        else:
            whole[video] += scores.sums / views / len(own)
    if average == "logits":
        return whole.sigmoid() if files[0].several_labels else whole.softmax(1)
    return whole


def _maxima(own: OwnScores) -> torch.Tensor:
    found = torch.zeros_like(own.sums)
    for part, scores in own.shard.chunks():
        owner = own.owner[part, None].expand_as(scores)
        found.scatter_reduce_(0, owner, scores.double(), "amax")
    return found


def _logit_sums(own: OwnScores) -> torch.Tensor:
    sums = torch.zeros_like(own.sums)
    for part, logits in dataclasses.replace(own.shard, stored=own.shard.logits).chunks():
        sums.index_add_(0, own.owner[part], logits.double())
    return sums


def _results(first: ScoreFile, own: Sequence[OwnScores], scores: torch.Tensor, average: Average) -> VideoResults:
    """Return the results of all videos; those that are incomplete in some file have no view."""
    parts = [VideoResults.joined([one.results], first.labels) for one in own]
    if len(parts) == 1 and average == "probabilities":
        return parts[0]
    complete = torch.stack([part.complete for part in parts]).all(0)
    views, top1, top5 = (
        sum((getattr(part, name) for part in parts), torch.zeros_like(first.labels)) * complete
        for name in ("views", "clips_top1", "clips_top5")
    )
    windows = any(part.expected_views == 0 for part in parts)
    predicted = scores.argmax(1)
    return VideoResults(
        video=torch.arange(len(scores)),
        views=views,
        labels=first.labels,
        predicted=predicted,
        probability=scores.gather(1, predicted[:, None])[:, 0],
        label_rank=label_ranks(scores, first.labels),
        clips_top1=top1,
        clips_top5=top5,
        expected_views=0 if windows else sum(part.expected_views for part in parts),
    )


def _metrics(
    files: Sequence[ScoreFile], videos: VideoResults, scores: torch.Tensor
) -> Metrics | SeveralLabelMetrics | UnlabeledMetrics:
    first = files[0]
    if not first.labeled:
        return measure_unlabeled(videos)
    if first.targets is None:
        return measure(videos, first.classes)
    positive = first.targets > 0
    counted = videos.complete & positive.any(1)
    kept = scores[counted]
    by_video = class_average_precisions(lambda part: kept[:, part], counted.nonzero()[:, 0], positive, _ALONE)
    shards = [file.shard.select(counted[file.shard.video]) for file in files]
    by_clip = class_average_precisions(
        lambda part: torch.cat([shard.columns(part) for shard in shards]),
        torch.cat([shard.video for shard in shards]),
        positive,
        _ALONE,
    )
    return measure_several(videos, first.targets, first.classes, by_video=by_video, by_clip=by_clip)


def views_curve(files: Sequence[ScoreFile], average: Average = "probabilities") -> list[tuple[int, float]]:
    """Return pairs of a number of views and the video-level top-1 or mean average precision with so many in each file.

    The numbers increase. Up to the number of clips, n views are the middle crops of n clips spread evenly over those of
    a video; the last number is that of all views. The result is [] for sliding windows, files with different views, and
    lists without labels.
    """
    first = files[0]
    views = {(file.views, file.crops) for file in files}
    if not first.views or not first.labeled or len(views) > 1:
        return []
    clips = first.views // first.crops
    numbers = sorted({*(number for number in _VIEWS if number < clips), clips})
    curve = [(number, _with_clips(files, number, average)) for number in numbers]
    return curve if first.crops == 1 else [*curve, (first.views, combine_scores(files, average).metrics.score)]


def _with_clips(files: Sequence[ScoreFile], number: int, average: Average) -> float:
    """Return the metric of the middle crops of ``number`` clips."""
    crops = files[0].crops
    clips = ((2 * torch.arange(number) + 1) * (files[0].views // crops)) // (2 * number)
    return combine_scores([file.with_views(clips * crops + crops // 2) for file in files], average).metrics.score


def check_scored(ensemble: Ensemble, *, allow_missing: bool) -> None:
    """Check that all videos were scored or, with ``allow_missing``, at least one.

    Raises:
        InputError: if they were not.
    """
    missing, videos = ensemble.metrics.unscored, ensemble.metrics.videos
    if missing == videos:
        raise InputError(f"No video has scores of all its views in every file ({videos} videos). Give other files.")
    if missing and not allow_missing:
        raise InputError(
            f"{missing} of {videos} videos do not have all scores. Set allow_missing to true to leave them out.",
            setting="allow_missing",
        )
