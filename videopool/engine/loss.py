"""Losses and the number of correct predictions, for videos of one class or of several.

Shapes: logits [B,K]; batch labels [B], targets [B,K] or None (``types.Batch``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch.nn import functional

from videopool.errors import InputError
from videopool.types import Batch

Loss = Callable[[torch.Tensor, Batch], torch.Tensor]  # float32 logits [B,K] and their batch -> mean loss []


def choose_loss(*, several_labels: bool, label_smoothing: float) -> Loss:
    """Return cross entropy for videos of one class, or binary cross entropy for videos of several classes.

    Raises:
        InputError: if ``label_smoothing`` is not 0 with several labels.
    """
    if not several_labels:
        return functools.partial(one_label_loss, label_smoothing=label_smoothing)
    if label_smoothing:
        raise InputError(
            f"label_smoothing={label_smoothing:g} must be 0, because the training videos may have several classes",
            setting="label_smoothing",
        )
    return several_labels_loss


def one_label_loss(logits: torch.Tensor, batch: Batch, *, label_smoothing: float = 0.0) -> torch.Tensor:
    """Return the mean cross entropy with the labels or, if clips are mixed, with the targets (the shares of classes).

    ``label_smoothing`` is torch's: this part of each target is spread evenly over all K classes.
    """
    target = batch.labels if batch.targets is None else batch.targets
    return functional.cross_entropy(logits, target, label_smoothing=label_smoothing)


def several_labels_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the mean over clips and classes of the binary cross entropy of sigmoid and target."""
    assert batch.targets is not None
    return functional.binary_cross_entropy_with_logits(logits, batch.targets)


def count_correct(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the number of clips whose highest-scoring class is correct, int64 [].

    Correct is the label; for mixed clips, the class with the largest share (either one if two are equal); for videos of
    several classes, any of them. For videos without a class nothing is correct.
    """
    predicted = logits.argmax(1)
    if batch.targets is None:
        return (predicted == batch.labels).sum()
    largest = batch.targets.amax(1)
    share = batch.targets.gather(1, predicted[:, None]).squeeze(1)
    return ((share == largest) & (largest > 0)).sum()
