"""ResNet of 18 to 152 layers, for images: clips of one frame.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016. The 3x3 convolution of a bottleneck has
the stride, not the 1x1 before it ("v1.5", as in torchvision and most published weights). Layers have torchvision's
names, so its weights load; the stem's pool is named ``maxpool`` for every pooling method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from videopool.errors import InputError
from videopool.models.depths import BASIC_BLOCKS, BOTTLENECKS
from videopool.models.video_model import frames_as_images
from videopool.pooling import Change

_BLOCKS = {**BASIC_BLOCKS, **{depth: BOTTLENECKS[depth] for depth in (50, 101, 152)}}
# Kernel, stride and padding of the stem's convolution and of its pool.
_STEMS = {"imagenet": ((7, 2, 3), (3, 2, 1)), "small": ((3, 1, 1), (2, 2, 0))}


def resnet(
    *,
    classes: int,
    frames: int = 1,
    crop: int = 224,
    dropout: float = 0.0,
    depth: int = 18,
    width: int = 64,
    stem: str = "imagenet",
    stem_pool: Sequence[int] = (),
    zero_init_residual: bool = False,
) -> ResNet:
    """Return a ResNet with max pooling after its first convolution.

    Args:
        classes: K.
        frames: 1.
        crop: side of an image in pixels; the network does not depend on it.
        dropout: probability of dropping a feature before the classifier; published networks have none.
        depth: 18, 34, 50, 101 or 152 layers.
        width: channels of the stem, 64 in published networks; the stages have 1, 2, 4 and 8 times as many, bottlenecks
            four times that.
        stem: ``imagenet``, a 7x7 convolution of stride 2 and a 3x3 pool of stride 2; or ``small``, for images of about
            32 pixels, a 3x3 convolution of stride 1 and a 2x2 pool of stride 2.
        stem_pool: kernel, stride and padding of that pool, to change them; the authors of SoftPool use ``(2, 2, 0)``
            instead of ``(3, 2, 1)``.
        zero_init_residual: start with every block as the identity (Goyal et al. 2017).

    Raises:
        InputError: for impossible numbers, and for more than one frame.
    """
    if frames != 1:
        raise InputError(
            f"frames={frames} must be 1 for resnet, which takes images. Set it to 1, or use a video network.",
            setting="frames",
        )
    if depth not in _BLOCKS or width < 1 or stem not in _STEMS:
        raise InputError(
            f"resnet cannot be built with depth={depth}, width={width}, stem='{stem}'. depth must be one of "
            f"{', '.join(map(str, _BLOCKS))}, width 1 or more, and stem {' or '.join(_STEMS)}.",
            setting="arguments",
        )
    conv, pool = _STEMS[stem]
    model = ResNet(
        counts=_BLOCKS[depth],
        bottleneck=depth not in BASIC_BLOCKS,
        classes=classes,
        width=width,
        stem_conv=conv,
        stem_pool=_pool_window(stem_pool or pool),
        dropout=dropout,
    )
    _initialize(model, zero_init_residual)
    return model


class ResNet(nn.Module):
    """A network from clips [B,3,1,H,W] to logits [B,K]; see ``resnet``. ``changes`` lists its pooling changes."""

    relu_then_pool = ("relu", "maxpool")  # see videopool.pooling.fuse_relu
    changes: tuple[Change, ...]

    def __init__(
        self,
        *,
        counts: Sequence[int],
        bottleneck: bool,
        classes: int,
        width: int,
        stem_conv: tuple[int, int, int],
        stem_pool: tuple[int, int, int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.changes = ()
        self.conv1 = nn.Conv2d(3, width, *stem_conv, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(*stem_pool)
        channels = [width, *((4 if bottleneck else 1) * width * 2**stage for stage in range(4))]
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            _layer(channels[stage], width * 2**stage, counts[stage], 2 if stage else 1, bottleneck)
            for stage in range(4)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels[-1], classes)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return logits [B,K] of ``clips`` [B,3,1,H,W] (floating point, normalized), or raise ``InputError``."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(frames_as_images(clips)))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or the bottleneck of 1x1, 3x3 and 1x1 with four times the channels.

    Its layers are ``conv1``, ``bn1``, ``conv2``, ...; no ReLU is between the last normalization and the sum. Where the
    shape changes, the shortcut is the strided 1x1 convolution ``downsample``.
    """

    def __init__(self, channels_in: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        self.channels = 4 * width if bottleneck else width
        kernels, strides = ((1, 3, 1), (1, stride, 1)) if bottleneck else ((3, 3), (stride, 1))
        sizes = (channels_in, *(width for _ in kernels[1:]), self.channels)
        for index, (kernel, step) in enumerate(zip(kernels, strides, strict=True)):
            conv = nn.Conv2d(sizes[index], sizes[index + 1], kernel, step, padding=kernel // 2, bias=False)
            self.add_module(f"conv{index + 1}", conv)
            self.add_module(f"bn{index + 1}", nn.BatchNorm2d(sizes[index + 1]))
        self.convs = len(kernels)
        self.relu = nn.ReLU(inplace=True)
        self.branch_fusion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = torch.add  # see drop_path
        self.downsample: nn.Module | None = None
        if stride > 1 or channels_in != self.channels:
            conv = nn.Conv2d(channels_in, self.channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(self.channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features [B,channels,H/stride,W/stride] of ``x`` [B,C,H,W]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        for index in range(1, self.convs + 1):
            x = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(x))
            x = self.relu(x if index < self.convs else self.branch_fusion(shortcut, x))
        return x


def _layer(channels_in: int, width: int, count: int, stride: int, bottleneck: bool) -> nn.Sequential:
    """Return ``count`` blocks, the first with ``stride``."""
    first = Block(channels_in, width, stride, bottleneck)
    return nn.Sequential(first, *(Block(first.channels, width, 1, bottleneck) for _ in range(count - 1)))


def _pool_window(window: Sequence[int]) -> tuple[int, int, int]:
    """Return (kernel, stride, padding), checked."""
    if len(window) != 3 or any(type(number) is not int for number in window):
        raise InputError(
            f"stem_pool={list(window)} of resnet must have kernel, stride and padding, such as [2, 2, 0]",
            setting="arguments",
        )
    kernel, stride, padding = window
    if min(kernel, stride) < 1 or not 0 <= 2 * padding <= kernel:
        raise InputError(
            f"stem_pool={list(window)} of resnet must have a kernel and stride of 1 or more, and a padding of at most "
            "half of the kernel",
            setting="arguments",
        )
    return kernel, stride, padding


def _initialize(model: ResNet, zero_init_residual: bool) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, Block) and zero_init_residual:
            nn.init.zeros_(getattr(module, f"bn{module.convs}").weight)
