"""Repeat one training step and find the first layer whose output or gradient is not finite."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from videopool.engine.checkpoints.failure import shortened
from videopool.engine.trainer import Trainer
from videopool.types import Batch

_CONTEXT = 5  # layers listed before the first one that is not finite


@dataclasses.dataclass(frozen=True)
class Values:
    """What a layer returned in a forward pass, or the gradient with respect to it.

    Attributes:
        layer: path and class.
        number: the forward pass, from 1.
        shape: of the tensor.
        largest: the largest finite absolute value.
        broken: how many values are not finite.
    """

    layer: str
    number: int
    shape: tuple[int, ...]
    largest: float
    broken: int

    def __str__(self) -> str:
        broken = f"{self.broken:,} of {torch.Size(self.shape).numel():,} values are not finite"
        return f"{self.layer} {list(self.shape)}: largest {self.largest:.3g}" + (f", {broken}" if self.broken else "")


class LayerValues:
    """Records the outputs of all layers of a network, and the gradients with respect to them, in a ``with`` block.

    Attributes:
        outputs: in the order in which the layers end.
        gradients: in the order of the backward pass.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.outputs: list[Values] = []
        self.gradients: list[Values] = []
        self._number = 0
        self._handles = contextlib.ExitStack()

    def __enter__(self) -> LayerValues:
        self._handles.callback(self.model.register_forward_pre_hook(self._begin).remove)
        for name, layer in self.model.named_modules():
            label = f"{name or 'network'} ({type(layer).__name__})"

            def note(layer: nn.Module, given: object, output: object, label: str = label) -> None:
                self._note(label, output)

            self._handles.callback(layer.register_forward_hook(note).remove)
        return self

    def __exit__(self, *raised: object) -> None:
        self._handles.close()

    def _begin(self, layer: nn.Module, given: object) -> None:
        self._number += 1

    def _note(self, label: str, output: object) -> None:
        number = self._number
        for tensor in tree_leaves(output):
            if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
                continue
            self.outputs.append(_values(label, number, tensor))
            if tensor.requires_grad:

                def note(gradient: torch.Tensor) -> None:
                    self.gradients.append(_values(label, number, gradient))

                tensor.register_hook(note)


def _values(layer: str, number: int, tensor: torch.Tensor) -> Values:
    finite = tensor.detach().isfinite()
    largest = tensor.detach().abs().where(finite, 0).amax().item() if tensor.numel() else 0.0
    return Values(layer, number, tuple(tensor.shape), largest, int((~finite).sum()))


def replay(trainer: Trainer) -> str:
    """Repeat the step after the checkpoint of ``trainer`` with its clips, weights and random numbers.

    Returns:
        The report for the user: the learning rate and the videos of the step, its loss and gradient, and the first
        layer whose output (or gradient, in the backward pass) is not finite, with the layers before it.
    """
    loader, update = trainer.loader, trainer.update
    epoch, offset = loader.steps.position(trainer.step)
    batches = itertools.islice(loader.batches(epoch, start=offset), update.split.passes)
    videos: list[str] = []
    before = _broken_weights(trainer.model)
    trainer.model.train()
    with LayerValues(trainer.model) as values:
        size = loader.steps.size(trainer.step)
        trainer.train_step(_named(batches, trainer, videos), trainer.step, trainer.progress(trainer.step), size)
    sums = trainer.train_step.sums.read(trainer.world)
    lines = [
        f"step {trainer.step + 1}: learning rate {trainer.lr_of(trainer.step + 1):.6g}, {len(videos)} clips in "
        f"{update.split.passes} forward passes, videos {shortened(videos)}",
        f"loss {sums['loss']:.9g}, gradient norm {sums['grad_norm']:.9g}",
    ]
    if before:
        lines.append(f"not finite before the step: {shortened(before)}")
    return "\n".join([*lines, *_first(values)])


def _named(batches: Iterator[Batch], trainer: Trainer, videos: list[str]) -> Iterator[Batch]:
    for batch in batches:
        videos += [trainer.videos[number].id for number in batch.video.tolist()]
        yield batch


def _broken_weights(model: nn.Module) -> list[str]:
    """Return the names of the parameters that are not finite."""
    return [name for name, weights in model.named_parameters() if not weights.isfinite().all()]


def _first(values: LayerValues) -> list[str]:
    """Return lines about the first output that is not finite or, if all are finite, about the first gradient."""
    for kind, rows in (("output", values.outputs), ("gradient", values.gradients)):
        for place, row in enumerate(rows):
            if row.broken:
                title = f"first {kind} that is not finite, in forward pass {row.number}, after those before it:"
                shown = rows[max(0, place - _CONTEXT) : place + 1]
                return [title, *(f"  {line}" for line in shown if line.number == row.number)]
    return ["the outputs of all layers and their gradients are finite"]
