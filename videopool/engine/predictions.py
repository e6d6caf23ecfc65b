"""Predictions for a list without labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import torch

from videopool.engine.evaluation import Evaluation
from videopool.engine.scores import video_scores
from videopool.files import write_text
from videopool.types import VideoRecord

PREDICTIONS = "predictions.csv"


def write_predictions(
    folder: Path, evaluation: Evaluation, records: Sequence[VideoRecord], classes: Sequence[str]
) -> Path:
    """Write a row ``path,class,probability`` for every scored video to PREDICTIONS in ``folder``; return its path.

    ``path`` is the name of the video in the list, with its span if it has one. The class is the most probable one, and
    the probability is the mean over the views of the video. ``scores.npz`` has those of all classes.
    """
    labels = torch.full((len(records),), -1)
    videos = video_scores(evaluation.clips, labels=labels, classes=len(classes), views=evaluation.metrics.views)
    means = videos.sums / videos.views.clamp(min=1)[:, None]
    probability, best = means.max(1)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "class", "probability"])
    for video in torch.nonzero(videos.complete).flatten().tolist():
        rows.writerow([records[video].id, classes[int(best[video])], f"{probability[video]:.6f}"])
    return write_text(folder / PREDICTIONS, text.getvalue())
