"""VGG, the plain 2D convolutional network with a pool after every stage, for small images: ``model.target``.

Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015. As in ``c3d``, its
counterpart for clips, every convolution has batch normalization, and a global pool replaces the last pool and the fully
connected layers. It has several pooling sites where ``resnet`` has one, so it compares pooling methods.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from videopool.errors import InputError


def vgg(
    *,
    classes: int,
    frames: int = 1,
    crop: int = 32,
    dropout: float = 0.0,
    channels: Sequence[int] = (32, 64, 128, 256),
    convs: Sequence[int] = (),
) -> VGG:
    """Return a VGG with 2x2 max pooling after every stage but the last.

    Args:
        classes: K.
        frames: 1.
        crop: side of an image in pixels; the network does not depend on it.
        dropout: probability of dropping a feature before the classifier.
        channels: channels of each stage.
        convs: convolutions of each stage; empty means one in each.

    Raises:
        InputError: for impossible numbers, and for more than one frame.
    """
    counts = tuple(convs) or (1,) * len(channels)
    if frames != 1:
        raise InputError(f"frames={frames} must be 1 for vgg, which takes images", setting="frames")
    if not channels or len(counts) != len(channels) or min(*counts, *channels) < 1:
        raise InputError(
            f"vgg cannot be built with channels={list(channels)}, convs={list(counts)}. Both need one number of 1 or "
            "more for each stage.",
            setting="arguments",
        )
    return VGG(classes, channels, counts, dropout)


class VGG(nn.Module):
    """A network from images [B,3,H,W] to logits [B,K]; see ``vgg``."""

    def __init__(self, classes: int, channels: Sequence[int], convs: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.stages = nn.Sequential()
        before = 3
        for stage, (width, count) in enumerate(zip(channels, convs, strict=True)):
            self.stages.append(_stage(before, width, count, last=stage == len(channels) - 1))
            before = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(before, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits [B,K] of ``images`` [B,3,H,W] (floating point, normalized)."""
        return self.fc(self.dropout(self.avgpool(self.stages(images)).flatten(1)))


def _stage(channels_in: int, channels: int, count: int, *, last: bool) -> nn.Sequential:
    """Return ``count`` 3x3 convolutions, each with normalization and ReLU, and a pool unless it is the last stage."""
    stage = nn.Sequential()
    for index in range(count):
        conv = nn.Conv2d(channels if index else channels_in, channels, 3, padding=1, bias=False)
        stage.add_module(f"conv{index}", conv)
        stage.add_module(f"norm{index}", nn.BatchNorm2d(channels))
        stage.add_module(f"act{index}", nn.ReLU(inplace=True))
    if not last:
        stage.add_module("pool", nn.MaxPool2d(2, ceil_mode=True))
    return stage
