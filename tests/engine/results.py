"""What the metrics are computed from, for clips of one process."""

from __future__ import annotations

import torch

from videopool.engine.scoring.own_scores import OwnScores
from videopool.engine.scoring.score_shards import ShardWriter
from videopool.engine.scoring.scores import ClipScores, VideoResults


def own_scores(clips: ClipScores, *, labels: torch.Tensor, classes: int, views: int) -> OwnScores:
    writer = ShardWriter(classes)
    writer.add(clips)
    return OwnScores.of(writer.finish(), labels, classes=classes, views=views)


def joined_results(own: OwnScores, labels: torch.Tensor) -> VideoResults:
    return VideoResults.joined([own.results], labels)


def results_of(clips: ClipScores, *, labels: torch.Tensor, classes: int, views: int) -> VideoResults:
    """Return the results of all videos, those without clips included."""
    return joined_results(own_scores(clips, labels=labels, classes=classes, views=views), labels)
