"""Sizes of head windows and of the clips that fill them.

Every strided layer of the pytorchvideo networks is padded so that n cells become ceil(n / stride), hence n become
ceil(n / s) over a whole network whose strides multiply to s.
"""

from __future__ import annotations

from torch import nn

Size3 = tuple[int, int, int]


def head_window(clip: Size3, strides: Size3) -> Size3:
    """The features (t, h, w) that a clip (T, H, W) becomes: the head's window, so that training pools all of them."""
    frames, height, width = (-(-size // stride) for size, stride in zip(clip, strides, strict=True))
    return frames, height, width


def smallest_clip(window: Size3, strides: Size3) -> Size3:
    """The smallest clip (T, H, W) whose features fill ``window`` once."""
    frames, height, width = ((size - 1) * stride + 1 for size, stride in zip(window, strides, strict=True))
    return frames, height, width


def with_plain_sizes(blocks: nn.ModuleList) -> nn.ModuleList:
    """``blocks`` with every kernel, stride and padding as plain integers.

    pytorchvideo computes some of them with numpy, whose integers torch.export does not take.
    """
    for module in blocks.modules():
        for name in ("kernel_size", "stride", "padding"):
            size = getattr(module, name, None)
            if isinstance(size, tuple | list):
                setattr(module, name, tuple(int(number) for number in size))
    return blocks
