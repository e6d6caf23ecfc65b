"""Distillation: a network learns from the outputs of a trained one, the teacher.

Shapes: logits [B,K] of the network that is trained, inputs as ``preprocess`` returns them.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import nn
from torch.nn import functional

from videopool.engine.step.precision import Precision, autocast
from videopool.ranges import FRACTION, POSITIVE


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A teacher and its term of the loss (Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015).

    With z the logits of the network and y those of the teacher on the same clips, temperature T and weight w, the loss
    is ``(1 - w) * loss + w * T**2 * KL``, and KL is the mean over the clips of

    * ``KL(softmax(y / T) || softmax(z / T))`` for videos of one class,
    * the mean over the classes of ``KL(sigmoid(y / T) || sigmoid(z / T))`` for videos of several.

    Attributes:
        model: the teacher, on the device of the inputs. It is set to evaluation mode, and its weights do not change.
        weight: w, 0 to 1.
        temperature: T, above 0.
        several_labels: whether a video may have several classes.
        precision: of the teacher's forward pass.
    """

    model: nn.Module
    weight: float
    temperature: float
    several_labels: bool
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        FRACTION.check("distill_weight", self.weight)
        POSITIVE.check("distill_temperature", self.temperature)
        self.model.eval().requires_grad_(False)

    def total(self, loss: torch.Tensor, logits: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Return the loss [] of training, from the ``loss`` [] with the labels, float32 logits [B,K] and inputs."""
        return (1 - self.weight) * loss + self.weight * self.loss(logits, inputs)

    def loss(self, logits: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Return ``T**2 * KL`` [], whose gradient keeps its size when the temperature changes."""
        with torch.no_grad(), autocast(inputs.device, self.precision):
            target = self.model(inputs)
        divergence = _sigmoid_divergence if self.several_labels else _softmax_divergence
        return self.temperature**2 * divergence(target.float() / self.temperature, logits / self.temperature)


def _softmax_divergence(target: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return functional.kl_div(logits.log_softmax(1), target.log_softmax(1), reduction="batchmean", log_target=True)


def _sigmoid_divergence(target: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    present = target.sigmoid() * (functional.logsigmoid(target) - functional.logsigmoid(logits))
    absent = (-target).sigmoid() * (functional.logsigmoid(-target) - functional.logsigmoid(-logits))
    return (present + absent).mean()
