"""The files and the table of an evaluation."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videopool.engine.evaluation import Evaluation
from videopool.engine.log import unscored_note
from videopool.engine.score_shards import write_npz
from videopool.engine.scores import Metrics, SeveralLabelMetrics, UnlabeledMetrics, VideoResults
from videopool.errors import InputError
from videopool.files import atomic_write, write_text
from videopool.types import VideoRecord


def write_results(
    folder: Path,
    evaluation: Evaluation,
    records: Sequence[VideoRecord],
    classes: Sequence[str],
    details: Mapping[str, Any],
    *,
    allow_missing: bool,
) -> list[Path]:
    """Write the files of an evaluation of ``records`` to ``folder``, and return those with results.

    Only the main process calls it. With several processes, the evaluation must have kept its scores in files.

    ``unscored.jsonl`` has the path of each unscored video and the reason. ``metrics.json`` includes ``details`` such as
    the checkpoint and its step; metrics without any scored video are null. ``scores.npz`` holds ``video``, ``view`` and
    ``labels`` int64 [N] and ``scores`` float32 [N,K] of N clips sorted by video and view; video numbers are positions
    in the list. If videos may have several classes, ``labels`` are the first ones (-1: none) and ``targets`` uint8
    [V,K] all of them. A list without labels gets ``predictions.csv``: the name of each scored video, with its span if
    it has one, its most probable class, and the probability.

    Raises:
        InputError: if no video was scored, or if not all were and that is not allowed.
    """
    lines = [json.dumps({"path": bad.path, "reason": bad.reason}) + "\n" for bad in evaluation.bad]
    listed = write_text(folder / "unscored.jsonl", "".join(lines))
    missing, videos = evaluation.metrics.unscored, evaluation.metrics.videos
    if missing == videos:
        raise InputError(f"None of the {videos} videos could be scored; see {listed}. Check data.root and data.test.")
    if missing and not allow_missing:
        raise InputError(
            f"{missing} of {videos} videos could not be scored; see {listed}. Fix them, or set "
            "evaluate.allow_missing=true to compute metrics without them."
        )
    targets = None if evaluation.targets is None else evaluation.targets.numpy().astype(np.uint8)
    with atomic_write(folder / "scores.npz") as path, path.open("wb") as file:
        write_npz(file, evaluation.shards, targets)
    metrics = dataclasses.asdict(evaluation.metrics)
    values = {name: None if value != value else value for name, value in metrics.items()}
    values |= {"custom": dict(evaluation.custom)} if evaluation.custom else {}
    written = [write_text(folder / "metrics.json", json.dumps({**values, **details}, indent=2) + "\n")]
    written.append(folder / "scores.npz")
    if isinstance(evaluation.metrics, UnlabeledMetrics):
        written.append(write_text(folder / "predictions.csv", _predictions(evaluation.videos, records, classes)))
    return written


def _predictions(videos: VideoResults, records: Sequence[VideoRecord], classes: Sequence[str]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "class", "probability"])
    for video in torch.nonzero(videos.complete).flatten().tolist():
        rows.writerow([records[video].id, classes[int(videos.predicted[video])], f"{videos.probability[video]:.6f}"])
    return text.getvalue()


def run_folder(checkpoint: Path, out: str) -> Path:
    """Return the folder of the run that contains ``checkpoint``, or ``out`` for a checkpoint outside of a run."""
    inside = checkpoint.resolve().parent
    return inside.parent if inside.name == "checkpoints" else Path(out)


def metrics_table(metrics: Metrics | SeveralLabelMetrics | UnlabeledMetrics) -> str:
    """Return the metrics as text: percentages with the number of unscored videos, then the ten worst classes."""
    note = unscored_note(metrics.unscored, metrics.videos)
    if isinstance(metrics, UnlabeledMetrics):
        scored = metrics.videos - metrics.unscored
        return f"{scored} videos classified{note}; without labels there is no accuracy"
    lines = [f"{name:<22} {100 * value:6.2f} %{note}" for name, value in _rows(metrics)]
    scored = metrics.videos - metrics.unscored
    views = f"x {metrics.views} views" if metrics.views else f"in {metrics.clips} windows"
    lines.append(f"{scored} videos {views}{_left_out(metrics)}; per class, worst first:")
    known = sorted((value, name) for name, value in metrics.per_class.items() if value is not None)
    lines += [f"  {name:<30} {100 * value:6.1f} %" for value, name in known[:10]]
    if len(known) > 10:
        lines.append(f"  ... {len(known) - 10} more classes in metrics.json")
    return "\n".join(lines)


def _rows(metrics: Metrics | SeveralLabelMetrics) -> list[tuple[str, float]]:
    if isinstance(metrics, SeveralLabelMetrics):
        return [("video-level mAP", metrics.video_map), ("clip-level mAP", metrics.clip_map)]
    return [
        ("video-level top-1", metrics.video_top1),
        (f"video-level top-{metrics.top5_k}", metrics.video_top5),
        ("mean class accuracy", metrics.mean_class_accuracy),
        ("clip-level top-1", metrics.clip_top1),
        (f"clip-level top-{metrics.top5_k}", metrics.clip_top5),
    ]


def _left_out(metrics: Metrics | SeveralLabelMetrics) -> str:
    if isinstance(metrics, Metrics):
        return ""
    videos = f", {metrics.unlabeled} of them without a class" if metrics.unlabeled else ""
    return videos + (f", {metrics.absent_classes} classes without a video" if metrics.absent_classes else "")
