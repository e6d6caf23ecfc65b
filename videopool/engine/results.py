"""What an evaluation leaves: ``metrics.json``, ``scores.npz``, ``unscored.jsonl`` in ``evaluation/``, and a table."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from videopool.engine.evaluate import Evaluation
from videopool.engine.log import unscored_note
from videopool.engine.scores import Metrics, SeveralLabelMetrics, UnlabeledMetrics
from videopool.errors import InputError
from videopool.files import atomic_write, write_text


def write_results(folder: Path, evaluation: Evaluation, described: dict[str, Any]) -> None:
    """Writes the metrics (with ``described``: checkpoint, step, ...) and the scores of every clip.

    ``scores.npz`` holds ``video``, ``view`` and ``labels`` int64 [N] and ``scores`` float32 [N,K], N clips sorted by
    video and view; video numbers are positions in the list. Where a video may have several classes, ``labels`` are the
    first ones (-1: none) and ``targets`` uint8 [V,K] all of them, by video number. Metrics that nothing was scored for
    are null.
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
    values |= described
    write_text(folder / "metrics.json", json.dumps(values, indent=2) + "\n")


def write_unscored(folder: Path, evaluation: Evaluation) -> Path:
    """Lists the videos that could not be scored, one JSON object a line: path, reason. Empty when there are none."""
    lines = [json.dumps({"path": bad.path, "reason": bad.reason}) + "\n" for bad in evaluation.bad]
    return write_text(folder / "unscored.jsonl", "".join(lines))


def refuse_missing(evaluation: Evaluation, listed: Path, *, allowed: bool) -> None:
    """Raises ``InputError`` when no video was scored, or not all were and that is not ``allowed``."""
    missing, videos = evaluation.metrics.unscored, evaluation.metrics.videos
    if missing == videos:
        raise InputError(f"none of the {videos} videos could be scored, see {listed}; check data.root and data.test")
    if missing and not allowed:
        raise InputError(
            f"{missing} of {videos} videos could not be scored, they are listed in {listed}; "
            "mend them, or accept metrics without them with evaluate.allow_missing=true"
        )


def run_folder(checkpoint: Path, out: str) -> Path:
    """The folder of the run that ``checkpoint`` lies in, wherever it was moved; ``out`` for one that lies elsewhere."""
    inside = checkpoint.resolve().parent
    return inside.parent if inside.name == "checkpoints" else Path(out)


def metrics_table(metrics: Metrics | SeveralLabelMetrics | UnlabeledMetrics) -> str:
    """The metrics for a person: percentages, each with what was left out, then the classes from worst to best."""
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
    videos = f", {metrics.unlabelled} of them without a class" if metrics.unlabelled else ""
    return videos + (f", {metrics.absent_classes} classes without a video" if metrics.absent_classes else "")
