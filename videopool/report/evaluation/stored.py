"""Read what an evaluation, and the run it belongs to, wrote to their folders."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from videopool.engine.scoring.ensemble import Average, Ensemble, combine_scores
from videopool.engine.scoring.score_file import ScoreFile, read_scores
from videopool.errors import InputError

METRICS, SCORES = "metrics.json", "scores.npz"


@dataclasses.dataclass(frozen=True)
class StoredEvaluation:
    """An evaluation in files.

    Attributes:
        folder: of the evaluation.
        metrics: the content of ``metrics.json``.
        files: the scores: one file, or those of an ensemble.
        ensemble: their results.
        run: the folder of the run, which has a ``config.yaml``; None if it is not known or not there.
    """

    folder: Path
    metrics: dict[str, Any]
    files: tuple[ScoreFile, ...]
    ensemble: Ensemble
    run: Path | None

    @property
    def classes(self) -> tuple[str, ...]:
        """The K names."""
        return self.files[0].classes

    @property
    def several_labels(self) -> bool:
        """Whether a video may have several classes."""
        return self.files[0].several_labels

    @property
    def labeled(self) -> bool:
        """Whether the list has labels."""
        return self.files[0].labeled

    @property
    def average(self) -> Average:
        """How the scores of views and files were averaged."""
        average: Average = self.metrics.get("average", "probabilities")
        return average


def read_evaluation(folder: Path) -> StoredEvaluation:
    """Return the evaluation in ``folder``, or in the ``evaluation`` of the run in ``folder``.

    Raises:
        InputError: if a file is missing or damaged, with the command that writes it, or if the files do not belong to
            the same list of videos.
    """
    place = _find(folder)
    metrics = _read_metrics(place)
    listed = [Path(path) for path in metrics.get("scores", [])]
    own = place / SCORES
    moved = len(listed) == 1 and not listed[0].exists() and own.exists()
    files = tuple(read_scores(path) for path in ([own] if moved or not listed else listed))
    for file in files:
        if file.list_sha256 != metrics.get("list_sha256"):
            raise InputError(f"{file.path} is of another list of videos than {place / METRICS}. Evaluate again.")
    ensemble = combine_scores(files, metrics.get("average", "probabilities"))
    return StoredEvaluation(place, metrics, files, ensemble, _find_run(place, metrics))


def _find(folder: Path) -> Path:
    """Return the folder with the scores, or with the metrics of an ensemble."""
    for place in (folder, folder / "evaluation"):
        if (place / SCORES).exists() or (place / METRICS).exists():
            return place
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder. Give the folder of a run or of an evaluation.")
    checkpoint = folder / "checkpoints/last.pt"
    if checkpoint.exists():
        raise InputError(f"{folder} has no evaluation/{SCORES}. Write it with videopool evaluate {checkpoint}.")
    raise InputError(
        f"{folder} has no {SCORES}. Give the folder of a run or of an evaluation, or write one with videopool evaluate "
        f"CHECKPOINT --to {folder}."
    )


def _read_metrics(place: Path) -> dict[str, Any]:
    path, scores = place / METRICS, place / SCORES
    if not path.exists():
        raise InputError(
            f"{place} has {SCORES} but no {METRICS}, because not all videos could be scored. Write it with videopool "
            f"evaluate --from {scores} --to {place} evaluate.allow_missing=true."
        )
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}). Evaluate again.") from error
    if not isinstance(metrics, dict) or "videos" not in metrics:
        raise InputError(f"{path} is not the {METRICS} of an evaluation. Give another folder.")
    if not scores.exists() and not metrics.get("scores"):
        checkpoint = metrics.get("checkpoint", "CHECKPOINT")
        raise InputError(f"{place} has no {SCORES}. Write it with videopool evaluate {checkpoint} --to {place}.")
    return metrics


def _find_run(place: Path, metrics: dict[str, Any]) -> Path | None:
    """Return the folder of the run with its configuration: that of the checkpoint, or the parent of ``place``."""
    if "config" in metrics:  # of weights of another package, which have no run
        return None
    candidates = [place.resolve().parent] if place.resolve().name == "evaluation" else []
    checkpoints = Path(metrics.get("checkpoint", "")).resolve().parent
    if checkpoints.name == "checkpoints":
        candidates.append(checkpoints.parent)
    return next((run for run in candidates if (run / "config.yaml").exists()), None)
