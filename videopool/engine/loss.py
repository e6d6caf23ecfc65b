"""What training minimises, and what counts as right: one class of a video, or several.

Shapes: logits [B,K]; a batch has labels [B] and perhaps targets [B,K] (``types.Batch``).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch.nn import functional

from videopool.errors import InputError
from videopool.types import Batch

Loss = Callable[[torch.Tensor, Batch], torch.Tensor]  # float32 logits [B,K] and their batch -> loss []


def choose_loss(*, several_labels: bool, label_smoothing: float) -> Loss:
    """Cross entropy where a video has one class, else binary cross entropy of each class.

    Raises:
        InputError: for label smoothing of several labels.
    """
    if not several_labels:
        return functools.partial(one_label_loss, label_smoothing=label_smoothing)
    if label_smoothing:
        raise InputError(
            f"optim.label_smoothing={label_smoothing:g} is for videos of one class each, and those of data.train have "
            "several; set it to 0"
        )
    return several_labels_loss


def one_label_loss(logits: torch.Tensor, batch: Batch, *, label_smoothing: float = 0.0) -> torch.Tensor:
    """Mean cross entropy of the softmax with labels or, of mixed clips, with the targets' shares of classes.

    Smoothing is torch's: a part ``label_smoothing`` of each target is spread evenly over all K classes.
    """
    aim = batch.labels if batch.targets is None else batch.targets
    return functional.cross_entropy(logits, aim, label_smoothing=label_smoothing)


def several_labels_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Mean over clips and classes of the binary cross entropy of each class's sigmoid with its target."""
    assert batch.targets is not None
    return functional.binary_cross_entropy_with_logits(logits, batch.targets)


def right(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """How many clips of the batch have a right class first, int64 [].

    That is the label; of a mixed clip the class with the largest share (either of two equal ones); of a video with
    several classes any of them, and where there is none, no class is right.
    """
    first = logits.argmax(1)
    if batch.targets is None:
        return (first == batch.labels).sum()
    largest = batch.targets.amax(1)
    found = batch.targets.gather(1, first[:, None]).squeeze(1)
    return ((found == largest) & (largest > 0)).sum()
