"""Where a trained network comes from: digests of its lists and the metrics of its run, for exported files."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from videopool.config import Config
from videopool.engine.builders.parts import read_list
from videopool.engine.scoring.score_file import hash_of_list
from videopool.errors import InputError


def provenance(config: Config, run: Path, step: int | None, weights: str, *, published: str = "") -> dict[str, Any]:
    """Return what is known about the data and the results of a trained network.

    Args:
        config: its configuration.
        run: the folder of the run, in which ``videopool evaluate`` writes ``evaluation/metrics.json``.
        step, weights: the step of the checkpoint, and whether its weights are averaged or raw. Metrics of others are
            ignored.
        published: the name of the file, for weights of another package, which were not trained on ``data.train``.

    Returns:
        ``published``, or ``train_list_sha256``, if the list can be read: a digest of the videos and labels, as in
        ``metrics.json``.
        ``metrics``, if the checkpoint was evaluated: the numbers in ``metrics.json`` and ``list_sha256``, the digest of
        the test list.
    """
    found: dict[str, Any] = {"published": published} if published else {}
    with contextlib.suppress(InputError, OSError):  # exports do not need the data set
        if not published:
            found["train_list_sha256"] = hash_of_list(read_list(config, config.data.train, None).records)
    metrics = _metrics(run / "evaluation" / "metrics.json", step, weights)
    return {**found, "metrics": metrics} if metrics else found


def _metrics(file: Path, step: int | None, weights: str) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if values.get("step") != step or values.get("weights", weights) != weights:  # older files lack the weights
        return {}
    return {
        key: value
        for key, value in values.items()
        if key == "list_sha256" or (isinstance(value, int | float) and key != "step")
    }
