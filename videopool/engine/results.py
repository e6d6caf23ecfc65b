"""The files and the table of an evaluation."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from videopool.engine.evaluation import Evaluation
from videopool.engine.log import unscored_note
from videopool.engine.scores import Metrics, SeveralLabelMetrics, UnlabeledMetrics
from videopool.errors import InputError
from videopool.files import atomic_write, write_text


def write_results(folder: Path, evaluation: Evaluation, details: dict[str, Any]) -> None:
    """Write ``metrics.json``, which includes ``details`` such as the checkpoint and its step, and ``scores.npz``.

    ``scores.npz`` holds ``video``, ``view`` and ``labels`` int64 [N] and ``scores`` float32 [N,K] of N clips sorted by
    video and view; video numbers are positions in the list. If videos may have several classes, ``labels`` are the
    first ones (-1: none) and ``targets`` uint8 [V,K] all of them. Metrics without any scored video are null.
    """
    clips = evaluation.clips
    targets = evaluation.targets
    several: dict[str, Any] = {} if targets is None else {"targets": targets.numpy().astype(np.uint8)}
    with atomic_write(folder / "scores.npz") as path, path.open("wb") as file:
        np.savez(
            file,
            video=clips.video.numpy(),
            view=clips.view.numpy(),
            scores=clips.scores.numpy(),
            labels=clips.labels.numpy(),
            **several,
        )
    metrics = dataclasses.asdict(evaluation.metrics)
    values = {name: None if value != value else value for name, value in metrics.items()}
    values |= {"custom": dict(evaluation.custom)} if evaluation.custom else {}
    values |= details
    write_text(folder / "metrics.json", json.dumps(values, indent=2) + "\n")


def write_unscored(folder: Path, evaluation: Evaluation) -> Path:
    """Write ``unscored.jsonl``, a line with path and reason for each unscored video. Return its path."""
    lines = [json.dumps({"path": bad.path, "reason": bad.reason}) + "\n" for bad in evaluation.bad]
    return write_text(folder / "unscored.jsonl", "".join(lines))


def refuse_missing(evaluation: Evaluation, listed: Path, *, allowed: bool) -> None:
    """Raise ``InputError`` if no video was scored, or if not all were and that is not ``allowed``.

    ``listed`` is the file of unscored videos that the error names.
    """
    missing, videos = evaluation.metrics.unscored, evaluation.metrics.videos
    if missing == videos:
        raise InputError(f"None of the {videos} videos could be scored; see {listed}. Check data.root and data.test.")
    if missing and not allowed:
        raise InputError(
            f"{missing} of {videos} videos could not be scored; see {listed}. Fix them, or set "
            "evaluate.allow_missing=true to compute metrics without them."
        )


def run_folder(checkpoint: Path, out: str) -> Path:
    """Return the folder of the run that contains ``checkpoint``, or ``out`` for a checkpoint outside of a run."""
    inside = checkpoint.resolve().parent
    return inside.parent if inside.name == "checkpoints" else Path(out)


def metrics_table(metrics: Metrics | SeveralLabelMetrics | UnlabeledMetrics) -> str:
    """Return the metrics as text: percentages with the number of unscored videos, then the ten worst classes."""
    note = unscored_note(metrics.unscored, metrics.videos)
    if isinstance(metrics, UnlabeledMetrics):
        scored = metrics.videos - metrics.unscored
        return f"{scored} videos classified{note}; the list has no labels, so there is no accuracy"
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
