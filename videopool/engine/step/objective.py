"""The loss of a training step as one module, which is distributed and compiled as a whole.

Shapes: inputs as ``preprocess`` returns them, logits [B,K], of a forward pass.
"""

from __future__ import annotations

import torch
from torch import nn

from videopool.engine.optimization.loss import Loss
from videopool.engine.step.distillation import Teacher
from videopool.engine.step.precision import Precision, autocast
from videopool.types import Batch


class Objective(nn.Module):
    """Computes the loss of a forward pass from normalized clips and their targets.

    Args:
        model: the network; the only part with parameters that are trained.
        loss: of float32 logits and the batch.
        precision: of the forward pass of the network. The loss is computed in float32.
        teacher: its term is added to the loss.
    """

    def __init__(self, model: nn.Module, loss: Loss, *, precision: Precision, teacher: Teacher | None = None) -> None:
        super().__init__()
        self.model = model
        self.loss, self.precision, self.teacher = loss, precision, teacher

    def forward(self, inputs: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss [] and the detached logits, float32 [B,K], of the ``inputs`` that belong to ``batch``."""
        with autocast(inputs.device, self.precision):
            logits = self.model(inputs)
        logits = logits.float()
        loss = self.loss(logits, batch)
        if self.teacher is not None:
            loss = self.teacher.total(loss, logits, inputs)
        return loss, logits.detach()
