"""Memory order of a network's weights: channels last."""

from __future__ import annotations

import torch
from torch import nn


def channels_last(model: nn.Module) -> nn.Module:
    """Put the weights of all convolutions in channels_last(_3d) order, which runs faster; return ``model``.

    2D convolutions too: a channels_last_3d clip of one frame is channels_last without its frame axis.
    """
    for parameter in model.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return model
