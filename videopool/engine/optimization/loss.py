"""Losses and the number of correct predictions, for videos of one class or of several.

A loss is a mean over clips of terms that each depend on one clip. So the mean of the losses of several batches,
weighted by their sizes, is the loss of all their clips.

Shapes: logits [B,K]; batch labels [B], targets [B,K] or None (``types.Batch``). Targets t are shares of classes (0 or 1
without mixing), z are logits, w class weights (1 without), gamma is 0 without focal loss. ::

    softmax     sum over k of  w[k] * t[k] * (1 - p[k]) ** gamma * -log p[k]                   p = softmax(z)
    sigmoid     mean over k of w[k] * (t[k] * (1 - p[k]) ** gamma * -log p[k]
                                       + (1 - t[k]) * p[k] ** gamma * -log(1 - p[k]))          p = sigmoid(z)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import torch
from torch.nn import functional

from videopool.errors import InputError
from videopool.types import Batch

Loss = Callable[[torch.Tensor, Batch], torch.Tensor]  # float32 logits [B,K] and their batch -> mean loss []


@dataclasses.dataclass(frozen=True)
class LossTerms:
    """Options of the terms of a loss.

    Attributes:
        label_smoothing: this part of each target is spread evenly over all K classes, as in torch.
        focal_gamma: focuses on clips with low scores (Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017);
            0: off.
        class_weights: float32 [K] on the device of the logits, or None. The loss is not divided by their sum.
    """

    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    class_weights: torch.Tensor | None = None

    def targets(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return smoothed targets, float32 [B,K]."""
        classes = logits.shape[1]
        targets = batch.targets
        if targets is None:
            targets = functional.one_hot(batch.labels, classes).to(logits.dtype)
        if self.label_smoothing:
            targets = targets * (1 - self.label_smoothing) + self.label_smoothing / classes
        return targets

    def weighted(self, terms: torch.Tensor) -> torch.Tensor:
        """Return terms [B,K] multiplied by the weights of their classes."""
        return terms if self.class_weights is None else terms * self.class_weights

    def focused(self, terms: torch.Tensor, miss: torch.Tensor) -> torch.Tensor:
        """Return terms [B,K] multiplied by ``miss ** focal_gamma``; ``miss`` is the probability of an error."""
        if not self.focal_gamma:
            return terms
        # The derivative of 0 ** gamma is infinite for gamma below 1, but the term is 0.
        return terms * miss.clamp_min(torch.finfo(miss.dtype).tiny) ** self.focal_gamma


def choose_loss(
    kind: Literal["auto", "cross_entropy", "bce"] = "auto",
    *,
    several_labels: bool,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
    class_weights: torch.Tensor | None = None,
) -> Loss:
    """Return a loss.

    Args:
        kind: cross_entropy (of the softmax of all classes), bce (binary cross entropy of the sigmoid of each class), or
            auto: bce if videos may have several classes, else cross_entropy.
        several_labels: whether a video may have several classes.
        label_smoothing, focal_gamma, class_weights: see ``LossTerms``.

    Raises:
        InputError: with several labels, if ``kind`` is cross_entropy or ``label_smoothing`` is not 0.
    """
    if several_labels and label_smoothing:
        raise InputError(
            f"label_smoothing={label_smoothing:g} must be 0, because the training videos may have several classes",
            setting="label_smoothing",
        )
    if several_labels and kind == "cross_entropy":
        raise InputError(
            "loss=cross_entropy needs one class for each video, but the training videos may have several. Use bce.",
            setting="loss",
        )
    terms = LossTerms(label_smoothing, focal_gamma, class_weights)
    if several_labels or kind == "bce":
        return SigmoidLoss(terms)
    return SoftmaxLoss(terms)


@dataclasses.dataclass(frozen=True)
class SoftmaxLoss:
    """The mean over clips of the cross entropy with the labels or, if clips are mixed, with the targets."""

    terms: LossTerms

    def __call__(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the loss [] of ``logits`` [B,K]."""
        terms = self.terms
        if terms.class_weights is None and not terms.focal_gamma:
            target = batch.labels if batch.targets is None else batch.targets
            return functional.cross_entropy(logits, target, label_smoothing=terms.label_smoothing)
        scores = logits.log_softmax(1)
        each = terms.focused(terms.targets(logits, batch) * -scores, -torch.expm1(scores))
        return terms.weighted(each).sum(1).mean()


@dataclasses.dataclass(frozen=True)
class SigmoidLoss:
    """The mean over clips and classes of the binary cross entropy of sigmoid and target."""

    terms: LossTerms

    def __call__(self, logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the loss [] of ``logits`` [B,K]."""
        terms, targets = self.terms, self.terms.targets(logits, batch)
        if not terms.focal_gamma:
            if terms.class_weights is None:
                return functional.binary_cross_entropy_with_logits(logits, targets)
            each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            return terms.weighted(each).mean()
        present = terms.focused(targets * -functional.logsigmoid(logits), (-logits).sigmoid())
        absent = terms.focused((1 - targets) * -functional.logsigmoid(-logits), logits.sigmoid())
        return terms.weighted(present + absent).mean()


def count_correct(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the number of clips whose highest-scoring class is correct, int64 [].

    The correct class is the label; for mixed clips, the class with the largest share (either one if two are equal); for
    videos of several classes, any of them. Clips of videos without a class never count.
    """
    predicted = logits.argmax(1)
    if batch.targets is None:
        return (predicted == batch.labels).sum()
    largest = batch.targets.amax(1)
    share = batch.targets.gather(1, predicted[:, None]).squeeze(1)
    return ((share == largest) & (largest > 0)).sum()
