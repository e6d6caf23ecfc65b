"""Evaluations in files, made up: scores with a preference for the label, and the metrics computed from them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from videopool.cli.main import main
from videopool.engine.scoring.score_file import hash_of_list
from videopool.types import VideoRecord


def class_names(number: int) -> list[str]:
    """Return names of classes, among them one that is markup, and a long one."""
    special = ["<script>alert('class')</script> & \"more\"", "a name that is much longer than others and wraps"]
    return [*special, *(f"class {k:03d}" for k in range(2, number))][:number]


def write_evaluation(
    folder: Path,
    *,
    classes: int,
    videos: int,
    kind: str = "single",
    clips: int = 4,
    crops: int = 1,
    records: Sequence[VideoRecord] | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Path:
    """Write scores.npz, metrics.json and predictions.csv, and return their folder.

    Args:
        folder: to write to.
        classes, videos: how many.
        kind: ``single`` or ``several`` labels for each video, or ``unlabeled``.
        clips, crops: views of each video.
        records: the list; by default names without files.
        names: of the classes, by default ``class_names``.
        seed: of the scores.
    """
    rng = np.random.default_rng(seed)
    views = clips * crops
    records = records or [VideoRecord(f"videos/{v:05d}.mp4", Path(f"{v}.mp4"), v % classes) for v in range(videos)]
    labels = np.array([record.label for record in records])
    targets = np.zeros((videos, classes), np.uint8)
    targets[np.arange(videos), labels] = 1
    if kind == "several":
        targets |= rng.random((videos, classes)) < 0.1
    logits = rng.normal(size=(videos, 1, classes)) + 0.7 * rng.normal(size=(videos, views, classes))
    logits = (logits + 3.5 * targets[:, None] - 1.5 * (kind == "several")).reshape(-1, classes).astype(np.float32)
    exponential = np.exp(logits - logits.max(1, keepdims=True))
    scores = 1 / (1 + np.exp(-logits)) if kind == "several" else exponential / exponential.sum(1, keepdims=True)
    video = np.arange(videos).repeat(views)
    starts = np.tile(np.arange(views) // crops * 0.1, videos)
    arrays = {
        "video": video,
        "view": np.tile(np.arange(views), videos),
        "scores": scores.astype(np.float32),
        "logits": logits,
        "labels": np.full(len(video), -1) if kind == "unlabeled" else labels[video],
        "seconds": np.stack([starts, starts + 0.4], 1),
        "names": np.array([record.id for record in records]),
        "classes": np.array(names or class_names(classes)),
        "views": np.array(views),
        "crops": np.array(crops),
        "several_labels": np.array(kind == "several"),
        "list_sha256": np.array(hash_of_list(records)),
        **({"targets": targets} if kind == "several" else {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "scores.npz", **arrays)
    command = ["evaluate", "--from", str(folder / "scores.npz"), "--to", str(folder), "evaluate.resamples=50"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(command) == 0
    return folder
