"""The files and the table of an evaluation."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from videopool.engine.scoring.assessment import Assessment
from videopool.engine.scoring.evaluation import Evaluation
from videopool.engine.scoring.intervals import Interval
from videopool.engine.scoring.score_file import hash_of_list, write_scores
from videopool.engine.scoring.scores import (
    Metrics,
    SeveralLabelMetrics,
    UnlabeledMetrics,
    VideoResults,
    truth_of,
)
from videopool.engine.watching.log import unscored_note
from videopool.errors import InputError
from videopool.files import finite_values, write_text
from videopool.types import VideoRecord

REPORT = "report.html"
_FILES = ("unscored.jsonl", "metrics.json", "scores.npz", "predictions.csv", REPORT)


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

    Only the main process calls it. With several processes, the evaluation must have kept its scores in files. The files
    of an earlier evaluation are removed first.

    ``unscored.jsonl`` has the path of each unscored video and the reason. ``scores.npz`` has all scores
    (``score_file.write_scores``), and ``predictions.csv`` the name of each scored video, with its span if it has one,
    its most probable class, the probability, and its label if the list has labels. ``metrics.json`` has the metrics
    and ``details`` such as the checkpoint and its step. It is not written if videos are missing and
    ``allow_missing`` is False.

    Raises:
        InputError: if no video was scored, or if videos are missing and ``allow_missing`` is False.
    """
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    lines = [json.dumps({"path": bad.path, "reason": bad.reason}) + "\n" for bad in evaluation.bad]
    listed = write_text(folder / "unscored.jsonl", "".join(lines))
    missing, videos = evaluation.metrics.unscored, evaluation.metrics.videos
    if missing == videos:
        first = f" (the first: {evaluation.bad[0].reason})" if evaluation.bad else ""
        raise InputError(
            f"None of the {videos} videos could be scored{first}; see {listed}. Check data.root, data.test and clip."
        )
    list_sha256 = hash_of_list(records)
    weights = str(details.get("weights", ""))
    scores = write_scores(folder / "scores.npz", evaluation, records, classes, list_sha256, weights=weights)
    names = [record.id for record in records]
    truth = truth_of(evaluation.metrics, evaluation.videos.labels, evaluation.targets)
    predicted = write_text(folder / "predictions.csv", predictions(evaluation.videos, names, classes, truth))
    if missing and not allow_missing:
        raise InputError(
            f"{missing} of {videos} videos could not be scored; see {listed}. Fix them, or set "
            "evaluate.allow_missing=true to compute metrics without them. The scores of the others were kept: instead "
            f"of the checkpoint, add --from {scores} to do so without decoding."
        )
    further = {"custom": dict(evaluation.custom)} if evaluation.custom else {}
    metrics = write_metrics(folder, evaluation.metrics, {**further, "list_sha256": list_sha256, **details})
    return [metrics, scores, predicted]


def write_metrics(
    folder: Path, metrics: Metrics | SeveralLabelMetrics | UnlabeledMetrics, further: Mapping[str, Any]
) -> Path:
    """Write ``metrics.json`` with the ``metrics`` and ``further`` values, and return it. NaN becomes null."""
    values = finite_values({**dataclasses.asdict(metrics), **further})
    return write_text(folder / "metrics.json", json.dumps(values, indent=2) + "\n")


def predictions(videos: VideoResults, names: Sequence[str], classes: Sequence[str], truth: torch.Tensor | None) -> str:
    """Return the predictions for the videos of which all views were scored, as CSV.

    Args:
        videos: the results of V videos.
        names: of the videos.
        classes: K names.
        truth: labels int64 [V], or targets [V,K], whose classes are joined with a semicolon; None: without a column.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "class", "probability", *([] if truth is None else ["label"])])
    for video in torch.nonzero(videos.complete).flatten().tolist():
        row = [names[video], classes[int(videos.predicted[video])], f"{videos.probability[video]:.6f}"]
        rows.writerow(row if truth is None else [*row, _label(truth[video], classes)])
    return text.getvalue()


def _label(truth: torch.Tensor, classes: Sequence[str]) -> str:
    numbers = truth.nonzero().flatten().tolist() if truth.dim() else [int(truth)]
    return ";".join(classes[number] for number in numbers)


def run_folder(checkpoint: Path, out: str) -> Path:
    """Return the folder of the run that contains ``checkpoint``, or ``out`` for a checkpoint outside of a run."""
    inside = checkpoint.resolve().parent
    return inside.parent if inside.name == "checkpoints" else Path(out)


def metrics_table(
    metrics: Metrics | SeveralLabelMetrics | UnlabeledMetrics, assessment: Assessment | None = None
) -> str:
    """Return the metrics as text: percentages with the number of unscored videos, then the ten worst classes.

    Args:
        metrics: of an evaluation.
        assessment: of the same evaluation; its 95 % intervals are shown next to the metrics.
    """
    note = unscored_note(metrics.unscored, metrics.videos)
    if isinstance(metrics, UnlabeledMetrics):
        scored = metrics.videos - metrics.unscored
        return f"{scored} videos classified{note}; without labels there is no accuracy"
    intervals = {} if assessment is None else assessment.intervals
    lines = [
        f"{name:<22} {100 * value:6.2f} %{_shown(intervals.get(key))}{note}" for name, key, value in _rows(metrics)
    ]
    if assessment is not None and assessment.ece == assessment.ece:
        error = 100 * assessment.ece
        lines.append(f"{'calibration error':<22} {error:6.2f} %{_shown(intervals.get('ece'))}{note}")
    scored = metrics.videos - metrics.unscored
    views = f"x {metrics.views} views" if metrics.views else f"in {metrics.clips} windows"
    lines.append(f"{scored} videos {views}{_left_out(metrics)}; per class, worst first:")
    known = sorted((value, name) for name, value in metrics.per_class.items() if value is not None)
    lines += [f"  {name:<30} {100 * value:6.1f} %" for value, name in known[:10]]
    if len(known) > 10:
        lines.append(f"  ... {len(known) - 10} more classes in metrics.json")
    return "\n".join(lines)


def _shown(interval: Interval | None) -> str:
    return "" if interval is None else f"  [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"


def _rows(metrics: Metrics | SeveralLabelMetrics) -> list[tuple[str, str, float]]:
    """Return the title, name and value of each metric."""
    if isinstance(metrics, SeveralLabelMetrics):
        return [
            ("video-level mAP", "video_map", metrics.video_map),
            ("clip-level mAP", "clip_map", metrics.clip_map),
        ]
    return [
        ("video-level top-1", "video_top1", metrics.video_top1),
        (f"video-level top-{metrics.top5_k}", "video_top5", metrics.video_top5),
        ("mean class accuracy", "mean_class_accuracy", metrics.mean_class_accuracy),
        ("clip-level top-1", "clip_top1", metrics.clip_top1),
        (f"clip-level top-{metrics.top5_k}", "clip_top5", metrics.clip_top5),
    ]


def _left_out(metrics: Metrics | SeveralLabelMetrics) -> str:
    if isinstance(metrics, Metrics):
        return ""
    videos = f", {metrics.unlabeled} of them without a class" if metrics.unlabeled else ""
    return videos + (f", {metrics.absent_classes} classes without a video" if metrics.absent_classes else "")
