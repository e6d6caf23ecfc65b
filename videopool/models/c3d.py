"""C3D, the plain 3D convolutional network, with a pooling layer after every stage.

Tran, Bourdev, Fergus, Torresani, Paluri, "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015.
Two things differ from the paper: every convolution has batch normalization, and a global pool replaces pool5, fc6 and
fc7, so that the network accepts any clip size and has 50 million parameters less than the paper's 78 million.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from videopool.errors import InputError
from videopool.models.initialize import initialize
from videopool.models.video_model import VideoModel


def c3d(
    *,
    classes: int,
    frames: int = 8,
    crop: int = 96,
    dropout: float = 0.5,
    width: int = 16,
    depth: int = 4,
    convs: Sequence[int] = (),
    stem_stride: int = 2,
    head: str = "average",
) -> VideoModel:
    """Return a C3D with max pooling, by default a small one: 16-32-64-128 channels, one convolution a stage.

    Stage i has ``width * 2**i`` channels, at most ``8 * width``; its convolutions are 3x3x3, each followed by batch
    normalization and ReLU. The first pool is 1x2x2, the others are 2x2x2, and the last stage ends in the global pool.
    The network of the paper is ``width=64, depth=5, convs=(1, 1, 2, 2, 2), stem_stride=1``. Pools keep a last, partly
    filled window, so clips of any size from one frame and one pixel fit.

    Args:
        classes: K.
        frames, crop: frames of a clip and its side in pixels; only ``head="flatten"`` depends on them. It pools clips
            of other sizes to as many positions.
        dropout: probability of dropping a feature before the classifier.
        width: channels of the first stage.
        depth: stages, 1 to 6.
        convs: convolutions of each stage, ``depth`` numbers; empty means one in each.
        stem_stride: spatial stride of the first convolution; 2 reduces the work of all later layers to a quarter.
        head: ``average`` classifies the mean over all positions. ``flatten`` classifies the features of all positions,
            as fc6 of the paper does, for classes that differ in when or where something happens.

    Raises:
        InputError: for impossible numbers.
    """
    counts = tuple(convs) or (1,) * depth
    if not 1 <= depth <= 6 or len(counts) != depth or min(*counts, width, stem_stride) < 1:
        raise InputError(
            f"c3d cannot be built with width={width}, depth={depth}, convs={list(counts)}, stem_stride={stem_stride}. "
            "depth must be 1 to 6, convs must have depth entries, and all numbers must be 1 or more.",
            setting="arguments",
        )
    if head not in ("average", "flatten"):
        raise InputError(f"head='{head}' of c3d must be average or flatten", setting="arguments")
    channels = [3, *(width * min(2**stage, 8) for stage in range(depth))]
    blocks: list[nn.Module] = []
    for stage, count in enumerate(counts):
        blocks.append(_stage(channels[stage], channels[stage + 1], count, 1 if stage else stem_stride))
        if stage < depth - 1:
            blocks[-1].add_module("pool", _pool(stage))
    positions = _positions(frames, crop, depth, stem_stride) if head == "flatten" else (1, 1, 1)
    blocks.append(C3DHead(channels[-1], classes, dropout, positions))
    model = VideoModel(nn.ModuleList(blocks), classes=classes, smallest=(1, 1, 1))
    initialize(model)
    return model


class C3DHead(nn.Module):
    """Pool to ``positions`` (t, h, w), dropout and a linear classifier: [B,C,T,H,W] to logits [B,K]."""

    def __init__(self, channels: int, classes: int, dropout: float, positions: tuple[int, int, int]) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool3d(positions)
        self.dropout = nn.Dropout(dropout)
        self.proj = nn.Linear(channels * math.prod(positions), classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits [B,K] of features [B,C,T,H,W]."""
        return self.proj(self.dropout(self.pool(x).flatten(1)))


def _stage(channels_in: int, channels: int, count: int, stride: int) -> nn.Sequential:
    """Return ``count`` convolutions, each with normalization and ReLU; the first has the spatial ``stride``."""
    stage = nn.Sequential()
    for index in range(count):
        step = (1, stride, stride) if index == 0 else 1
        # No bias: the normalization after it would remove it.
        conv = nn.Conv3d(channels if index else channels_in, channels, 3, step, padding=1, bias=False)
        stage.add_module(f"conv{index}", conv)
        stage.add_module(f"norm{index}", nn.BatchNorm3d(channels))
        stage.add_module(f"act{index}", nn.ReLU(inplace=True))
    return stage


def _positions(frames: int, crop: int, depth: int, stem_stride: int) -> tuple[int, int, int]:
    """Return the size (t, h, w) of the last stage's features of a clip; every pool rounds up."""
    t, side = frames, math.ceil(crop / stem_stride)
    for stage in range(depth - 1):
        t, side = t if stage == 0 else math.ceil(t / 2), math.ceil(side / 2)
    return t, side, side


def _pool(stage: int) -> nn.MaxPool3d:
    """Return the pool of a stage; the first keeps all frames "to not merge the temporal signal too early" (paper)."""
    return nn.MaxPool3d((1, 2, 2) if stage == 0 else (2, 2, 2), ceil_mode=True)
