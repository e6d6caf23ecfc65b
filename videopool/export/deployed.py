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
    """An exported file.

    Attributes:
        path: the file.
        difference: the largest difference between the logits of the reloaded file and those of the network.
        notes: sentences about the file for the user.
    """

    path: Path
    difference: float
    notes: tuple[str, ...] = ()


Exporter = Callable[[Deployed, Description, Path], Exported]  # writes into the folder and verifies what it wrote


def largest_difference(
    expected: torch.Tensor, found: torch.Tensor, *, of: str, spread: float | None = None, rounding: float = 0.0
) -> float:
    """Return the largest absolute difference of two tensors of logits [B,K].

    Two runs of a float32 network may sum in another order, which changes their results by about as much as float32
    rounding changes those of the network itself. So the limit is 1e-4 of ``spread``, far below what changes a
    prediction, plus 10 times ``rounding``, plus 8 units in the last place of the largest logit.

    Args:
        expected, found: the logits, of the network and of the exported file.
        of: the name of the file, for the error.
        spread: how much the logits depend on the input: the range of a class's logit over several clips. Default: the
            range of ``expected``.
        rounding: the largest error of ``expected``, as measured against the network in float64.

    Raises:
        RuntimeError: if the difference is above the limit.
    """
    difference = float((expected - found).abs().max())
    if spread is None:
        spread = float(expected.max() - expected.min())
    limit = 1e-4 * spread + 10 * rounding + 8 * torch.finfo(torch.float32).eps * float(expected.abs().max())
    if not difference <= limit:
        raise RuntimeError(
            f"{of}: logits of the reloaded file differ by {difference:.2g}, more than {limit:.2g}; not exported"
        )
    return difference
