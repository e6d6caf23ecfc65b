"""C3D, the plain 3D convolutional network, with a pooling layer after every stage.

Tran, Bourdev, Fergus, Torresani, Paluri, "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015.
Two things differ from the paper: every convolution has batch normalisation, and pool5, fc6 and fc7 are replaced by a
global pool, which frees the network from one clip size and from 50 of its 78 million parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from videopool.errors import InputError
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
) -> VideoModel:
    """A C3D with max pooling, small and quick by default: 16-32-64-128 channels, one convolution a stage.

    Stage i has ``width * 2**i`` channels, at most ``8 * width``; its convolutions are 3x3x3, each followed by batch
    normalisation and ReLU. The first pool is 1x2x2, the following are 2x2x2, the last stage ends in the global pool.
    The network of the paper is ``width=64, depth=5, convs=(1, 1, 2, 2, 2), stem_stride=1``. Pools keep their last,
    partly filled window, so any clip of one frame and one pixel or more passes.

    Args:
        classes: K.
        frames: frames of a clip; the network does not depend on them.
        crop: side of a clip in pixels; the network does not depend on it.
        dropout: probability of dropping a feature before the classifier.
        width: channels of the first stage.
        depth: stages, 1 to 6.
        convs: convolutions of each stage, ``depth`` numbers; empty means one in each.
        stem_stride: spatial stride of the first convolution. 2 makes everything behind it a quarter of the work.

    Raises:
        InputError: for numbers that describe no network.
    """
    counts = tuple(convs) or (1,) * depth
    if not 1 <= depth <= 6 or len(counts) != depth or min(*counts, width, stem_stride) < 1:
        raise InputError(
            f"c3d: width {width}, depth {depth}, convs {list(counts)}, stem_stride {stem_stride} describe no network; "
            "expected a depth of 1 to 6, as many convs, and numbers of 1 or more"
        )
    channels = [3, *(width * min(2**stage, 8) for stage in range(depth))]
    blocks: list[nn.Module] = []
    for stage, count in enumerate(counts):
        blocks.append(_stage(channels[stage], channels[stage + 1], count, 1 if stage else stem_stride))
        if stage < depth - 1:
            blocks[-1].add_module("pool", _pool(stage))
    blocks.append(C3DHead(channels[-1], classes, dropout))
    model = VideoModel(nn.ModuleList(blocks), classes=classes, smallest=(1, 1, 1))
    _initialise(model)
    return model


class C3DHead(nn.Module):
    """Global pool, dropout and a linear classifier: [B,C,T,H,W] to logits [B,K]."""

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.dropout = nn.Dropout(dropout)
        self.proj = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features [B,C,T,H,W] to logits [B,K]."""
        return self.proj(self.dropout(self.pool(x).flatten(1)))


def _stage(channels_in: int, channels: int, count: int, stride: int) -> nn.Sequential:
    """``count`` convolutions, each with normalisation and ReLU; the first takes ``stride`` cells a step in space."""
    stage = nn.Sequential()
    for index in range(count):
        step = (1, stride, stride) if index == 0 else 1
        # The normalisation that follows removes any bias.
        conv = nn.Conv3d(channels if index else channels_in, channels, 3, step, padding=1, bias=False)
        stage.add_module(f"conv{index}", conv)
        stage.add_module(f"norm{index}", nn.BatchNorm3d(channels))
        stage.add_module(f"act{index}", nn.ReLU(inplace=True))
    return stage


def _pool(stage: int) -> nn.MaxPool3d:
    """The paper keeps all frames through its first pool, "to not merge the temporal signal too early"."""
    return nn.MaxPool3d((1, 2, 2) if stage == 0 else (2, 2, 2), ceil_mode=True)


def _initialise(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
