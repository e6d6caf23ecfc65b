"""Weights of classes in the loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from videopool.data.lists.table import VideoTable
from videopool.errors import InputError


def count_labels(videos: VideoTable, classes: int) -> torch.Tensor:
    """Return how many videos have each class, int64 [K]. A video of several classes counts in each of them."""
    labels = np.asarray(videos.columns.get("labels", videos.label))
    return torch.from_numpy(np.bincount(labels[labels >= 0], minlength=classes))


def inverse_frequency(counts: torch.Tensor) -> torch.Tensor:
    """Return weights that are inverse to the number of videos of each class, float32 [K].

    The weights are N / (K * counts) with N labels in all: the mean over the labels is 1, so the learning rate keeps its
    meaning. A class without videos counts as one with a single video.

    Args:
        counts: the number of videos of each class, int64 [K].
    """
    counts = counts.double()
    return (counts.sum() / (len(counts) * counts.clamp_min(1))).float()


def read_class_weights(path: Path, classes: Sequence[str]) -> torch.Tensor:
    """Read the weights of the K classes, one number per line in label order: float32 [K].

    Raises:
        InputError: if the file cannot be read, has another number of lines, or a line is not a number of 0 or more.
    """
    try:
        lines = path.read_text(encoding="utf-8").rstrip().splitlines()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}). Give 'balanced', or a text file with one number per class.",
            setting="class_weights",
        ) from None
    if len(lines) != len(classes):
        raise InputError(
            f"{path} has {len(lines)} lines for {len(classes)} classes. Write one weight per class, from "
            f"{classes[0]!r} to {classes[-1]!r}.",
            setting="class_weights",
        )
    return torch.tensor([_weight(line, f"{path}:{number}") for number, line in enumerate(lines, 1)])


def _weight(text: str, where: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise InputError(f"{where}: {text!r} must be a number of 0 or more", setting="class_weights")
    return weight
