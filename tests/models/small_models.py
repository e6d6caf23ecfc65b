"""Arguments that make every network small enough for a test, with T and crop that fit all of their strides."""

import torch
from torch import nn

from videopool import models

SMALL = {
    "c3d": {"frames": 8, "crop": 32, "width": 4},
    "r2plus1d": {"frames": 8, "crop": 64, "depth": 14, "width": 4},
    "slowfast": {"frames": 8, "crop": 64, "depth": 18, "width": 16},
    "x3d": {"frames": 4, "crop": 64, "depth": 0.2, "width": 0.5, "head_width": 32},
}
# Further families, which tests of one network each leave out.
MORE = {
    "c2d": {"frames": 4, "crop": 64, "depth": 14, "width": 4},
    "csn": {"frames": 8, "crop": 64, "depth": 14, "width": 4},
    "i3d": {"frames": 4, "crop": 64, "depth": 14, "width": 4},
    "mc3": {"frames": 8, "crop": 32, "width": 4},
    "r3d": {"frames": 8, "crop": 32, "width": 4},
    "slow": {"frames": 4, "crop": 64, "depth": 14, "width": 4},
}
EVERY = {**SMALL, **MORE}
CLASSES = 5


def small(name: str, **arguments: object) -> nn.Module:
    """Return the small network ``name`` with weights from seed 0; arguments override those above."""
    torch.manual_seed(0)
    return models.build(name, classes=CLASSES, **{**EVERY[name], **arguments})


def clips_for(name: str, *, batch: int = 2, larger: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return random clips [B,3,T,H,W] of the training size, with ``larger`` more pixels in H and W."""
    size = EVERY[name]
    side = size["crop"] + larger
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, size["frames"], side, side, generator=generator, dtype=dtype)
