"""Weights of classes in the loss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from videopool.data.lists.table import VideoTable
from videopool.data.number_files import read_numbers
from videopool.ranges import AT_LEAST_ZERO


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
    numbers = read_numbers(
        path,
        count=len(classes),
        items="classes",
        allowed=AT_LEAST_ZERO,
        setting="class_weights",
        form="Give 'balanced', or a text file with one number per class.",
        counting=f"Write one weight per class, from {classes[0]!r} to {classes[-1]!r}.",
    )
    return torch.tensor(numbers)
