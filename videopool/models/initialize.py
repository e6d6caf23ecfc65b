"""Initial weights of networks that pytorchvideo does not build."""

from __future__ import annotations

from torch import nn


def initialize(model: nn.Module) -> None:
    """Draw the weights of 3D convolutions and linear layers, in place, from torch's generator.

    Convolutions: He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015, by their outputs. Linear layers:
    normal with a standard deviation of 0.01, and biases of zero.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
