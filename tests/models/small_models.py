"""Arguments that make every network small enough for a test: T and crop that all of their strides fit."""

import torch
from torch import nn

from videopool import models

SMALL = {
    "c3d": {"frames": 8, "crop": 32, "width": 4},
    "r2plus1d": {"frames": 8, "crop": 64, "depth": 14, "width": 4},
    "slowfast": {"frames": 8, "crop": 64, "depth": 18, "width": 16},
    "x3d": {"frames": 4, "crop": 64, "depth": 0.2, "width": 0.5, "head_width": 32},
}
CLASSES = 5


def small(name: str, **arguments: object) -> nn.Module:
    """The small network ``name`` with weights from seed 0; arguments override those above."""
    torch.manual_seed(0)
    return models.build(name, classes=CLASSES, **{**SMALL[name], **arguments})


def clips_for(name: str, *, batch: int = 2, larger: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Random clips [B,3,T,H,W] of the training size, H and W ``larger`` by so many pixels."""
    size = SMALL[name]
    side = size["crop"] + larger
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, size["frames"], side, side, generator=generator, dtype=dtype)
