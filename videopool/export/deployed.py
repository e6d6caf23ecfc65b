"""A network as it is exported: from uint8 frames to logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from videopool.export.description import Description


class Deployed(nn.Module):
    """A network from uint8 RGB clips [B,3,T,H,W], scaled and cropped, to logits [B,K]. It includes normalization."""

    def __init__(self, model: nn.Module, preprocess: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.model = model
        self.preprocess = preprocess

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return the logits [B,K] of uint8 ``clips`` [B,3,T,H,W]."""
        return self.model(self.preprocess(clips))


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported file, and the largest difference between the logits of the reloaded file and those of the network."""

    path: Path
    difference: float


Exporter = Callable[[Deployed, Description, Path], Exported]  # writes into the folder and verifies what it wrote


def largest_difference(expected: torch.Tensor, found: torch.Tensor, *, of: str) -> float:
    """Return the largest absolute difference of two tensors of logits [B,K].

    Two runs of a float32 network may sum in another order, which changes a few units in the last place of the largest
    intermediate value. The limit of 1e-4 is far above that and far below what changes a prediction.

    Raises:
        RuntimeError: if the difference is above 1e-4 of the largest logit (or of 1, if that is larger).
    """
    difference = float((expected - found).abs().max())
    scale = max(1.0, float(expected.abs().max()))
    if not difference <= 1e-4 * scale:
        raise RuntimeError(
            f"{of}: logits of the reloaded file differ by {difference:g} (largest logit {scale:g}); not exported"
        )
    return difference
