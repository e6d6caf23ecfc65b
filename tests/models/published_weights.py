"""Made-up weights of published networks, and the networks to load them into."""

from __future__ import annotations

import torch
from torch import nn

from tests.models.published_shapes import Shapes
from videopool import models

Weights = dict[str, torch.Tensor]


def weights_of(shapes: Shapes, dtype: torch.dtype = torch.float32) -> Weights:
    """Return random weights of these shapes; convolutions keep the size of their values."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=generator, dtype=dtype)
        if name.endswith("running_var"):
            value = 0.5 + value.abs()
        elif len(shape) > 1:
            value = value / max(value[0].numel(), 1) ** 0.5
        weights[name] = torch.tensor(7) if name.endswith("num_batches_tracked") else value
    return weights


def model_of(name: str, **arguments: object) -> nn.Module:
    """Return the published network with weights of zero, without dropout."""
    with torch.device("meta"):
        given = {"classes": 400, "frames": 8, "crop": 224, "dropout": 0.0, **arguments}
        model = models.build(name, **given)
    model = model.to_empty(device="cpu")
    for tensor in model.state_dict().values():
        tensor.zero_()
    return model.eval()
