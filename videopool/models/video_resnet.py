"""ResNets of 18 and 34 layers for clips: R3D, MC3 and R(2+1)D, with the layer names of torchvision.

Tran, Wang, Torresani, Ray, LeCun, Paluri, "A Closer Look at Spatiotemporal Convolutions for Action Recognition",
CVPR 2018. All blocks are basic blocks of two convolutions. In R3D, these are 3x3x3; in MC3, 3x3x3 in the first stage
and 1x3x3 in the others; in R(2+1)D, 1x3x3 and then 3x1x1, with a normalization and a ReLU between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from videopool.errors import InputError
from videopool.models.depths import BASIC_BLOCKS, check_depth
from videopool.models.initialize import initialize
from videopool.pooling import Change

_Triple = tuple[int, int, int]
_FULL, _SPATIAL = (3, 3, 3), (1, 3, 3)


class Form(NamedTuple):
    """What published R(2+1)D networks differ in.

    Attributes:
        stem_mid: channels between the two convolutions of the stem, for 64 channels after it.
        mid_of_block: whether both convolutions of a block have the middle channels that its first one needs; otherwise
            each has its own number.
        stem_pool: whether a 1x3x3 max pool of stride 1x2x2 follows the stem.
        factored_shortcut: whether strided shortcuts are factored, too.
        eps: of the normalization after each factored convolution; between its two parts, it is ``mid_eps``.
        mid_eps: see ``eps``.
    """

    stem_mid: int
    mid_of_block: bool
    stem_pool: bool
    factored_shortcut: bool
    eps: float
    mid_eps: float


FORMS = {
    "torchvision": Form(45, True, False, False, 1e-5, 1e-5),
    "ig65m": Form(45, False, False, False, 1e-3, 1e-3),
    "mmaction2": Form(83, False, True, True, 1e-3, 1e-5),
}


def r3d(
    *, classes: int, frames: int = 16, crop: int = 112, dropout: float = 0.0, depth: int = 18, width: int = 64
) -> VideoResNet:
    """Return an R3D, by default torchvision's ``r3d_18``.

    Args:
        classes: K.
        frames: frames of a clip; the network does not depend on it.
        crop: side of a clip in pixels; the network does not depend on it.
        dropout: probability of dropping a feature before the classifier; published networks have none.
        depth: 18 or 34 layers.
        width: channels of the stem and the first stage; the others have 2, 4 and 8 times as many.

    Raises:
        InputError: for another depth or a width below 1.
    """
    check_depth("r3d", depth, width, BASIC_BLOCKS)
    return VideoResNet(classes, BASIC_BLOCKS[depth], width, dropout, [_FULL] * 4)


def mc3(
    *, classes: int, frames: int = 16, crop: int = 112, dropout: float = 0.0, depth: int = 18, width: int = 64
) -> VideoResNet:
    """Return an MC3, by default torchvision's ``mc3_18``. The arguments are those of ``r3d``.

    Raises:
        InputError: for another depth or a width below 1.
    """
    check_depth("mc3", depth, width, BASIC_BLOCKS)
    return VideoResNet(classes, BASIC_BLOCKS[depth], width, dropout, [_FULL, _SPATIAL, _SPATIAL, _SPATIAL])


class VideoResNet(nn.Module):
    """A network from clips [B,3,T,H,W] to logits [B,K]; any size from one frame and one pixel fits.

    Args:
        classes: K.
        counts: blocks of the four stages.
        width: channels of the stem.
        dropout: probability of dropping a feature before the classifier.
        kernels: kernel of the convolutions in each stage: 3x3x3, or 1x3x3, which has no stride in time.
        form: for R(2+1)D, which factors the 3x3x3 convolutions; None for the others.

    Attributes:
        changes: the changes of pooling sites, for ``videopool.pooling.report``; empty for the published network.
    """

    changes: tuple[Change, ...]

    def __init__(
        self,
        classes: int,
        counts: Sequence[int],
        width: int,
        dropout: float,
        kernels: Sequence[_Triple],
        form: Form | None = None,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.changes = ()
        self.stem = _stem(width, form)
        if form is not None and form.stem_pool:
            self.stem.add_module("pool", nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)))
        channels = [width, *(width * 2**stage for stage in range(4))]
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            _layer(channels[stage : stage + 2], counts[stage], 2 if stage else 1, kernels[stage], form)
            for stage in range(4)
        )
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels[-1], classes)
        initialize(self)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return logits [B,K] of ``clips`` [B,3,T,H,W] (floating point, normalized), or raise ``InputError``."""
        if clips.dim() != 5 or clips.shape[1] != 3:
            raise InputError(f"The model takes clips [B,3,T,H,W], not {list(clips.shape)}")
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(clips)))))
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))


class Block(nn.Module):
    """A residual block of two convolutions, with a strided shortcut where the shape changes."""

    def __init__(self, channels: Sequence[int], stride: int, kernel: _Triple, form: Form | None) -> None:
        super().__init__()
        before, after = channels
        eps = form.eps if form else 1e-5
        mid = mid_channels(before, after) if form and form.mid_of_block else 0
        first = _conv(before, after, kernel, stride, form, mid)
        second = _conv(after, after, kernel, 1, form, mid)
        self.conv1 = nn.Sequential(first, nn.BatchNorm3d(after, eps), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(second, nn.BatchNorm3d(after, eps))
        self.relu = nn.ReLU(inplace=True)
        self.branch_fusion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = torch.add  # see drop_path
        self.downsample: nn.Module | None = None
        if stride > 1 or before != after:
            shortcut = _shortcut(before, after, _strides(stride, kernel), form)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(after, eps))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of ``x`` [B,C,T,H,W], with the channels and the stride of the block."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.branch_fusion(shortcut, self.conv2(self.conv1(x))))


def mid_channels(before: int, after: int, *, space: int = 3, time: int = 3) -> int:
    """Return the middle channels that give a factored convolution the parameters of a full one (paper, section 3.5).

    floor(t d^2 N_before N_after / (d^2 N_before + t N_after)), for a kernel of t x d x d.
    """
    return time * space**2 * before * after // (space**2 * before + time * after)


def _conv(before: int, after: int, kernel: _Triple, stride: int, form: Form | None, mid: int = 0) -> nn.Module:
    """Return a convolution that keeps the size at stride 1; for a ``form``, a factored one with ``mid`` channels."""
    if form is None:
        return nn.Conv3d(before, after, kernel, _strides(stride, kernel), (kernel[0] // 2, 1, 1), bias=False)
    mid = mid or mid_channels(before, after)
    return nn.Sequential(
        nn.Conv3d(before, mid, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        nn.BatchNorm3d(mid, form.mid_eps),
        nn.ReLU(inplace=True),
        nn.Conv3d(mid, after, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
    )


def _strides(stride: int, kernel: _Triple) -> _Triple:
    """Return ``stride`` in all axes; in space only, for a kernel of one frame."""
    return (stride if kernel[0] > 1 else 1, stride, stride)


def _shortcut(before: int, after: int, stride: _Triple, form: Form | None) -> nn.Module:
    """Return a strided 1x1x1 convolution, or the two of a factored one."""
    if form is None or not form.factored_shortcut:
        return nn.Conv3d(before, after, 1, stride, bias=False)
    mid = mid_channels(before, after, space=1)  # mmaction2 counts 3 frames, though the kernel has one
    return nn.Sequential(
        nn.Conv3d(before, mid, 1, (1, *stride[1:]), bias=False),
        nn.BatchNorm3d(mid, form.mid_eps),
        nn.ReLU(inplace=True),
        nn.Conv3d(mid, after, 1, (stride[0], 1, 1), bias=False),
    )


def _stem(width: int, form: Form | None) -> nn.Sequential:
    if form is None:
        conv = nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        return nn.Sequential(conv, nn.BatchNorm3d(width), nn.ReLU(inplace=True))
    mid = max(form.stem_mid * width // 64, 1)
    return nn.Sequential(
        nn.Conv3d(3, mid, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
        nn.BatchNorm3d(mid, form.mid_eps),
        nn.ReLU(inplace=True),
        nn.Conv3d(mid, width, (3, 1, 1), 1, (1, 0, 0), bias=False),
        nn.BatchNorm3d(width, form.eps),
        nn.ReLU(inplace=True),
    )


def _layer(channels: Sequence[int], count: int, stride: int, kernel: _Triple, form: Form | None) -> nn.Sequential:
    """Return ``count`` blocks, the first with ``stride``."""
    before, after = channels
    first = Block((before, after), stride, kernel, form)
    return nn.Sequential(first, *(Block((after, after), 1, kernel, form) for _ in range(count - 1)))
