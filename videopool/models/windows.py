"""Sizes of head windows and of the clips that fill them.

Every strided layer of the pytorchvideo networks turns n cells into ceil(n / stride), so a whole network whose strides
multiply to s turns n into ceil(n / s).
"""

from __future__ import annotations

from torch import nn

Size3 = tuple[int, int, int]


def head_window(clip: Size3, strides: Size3) -> Size3:
    """Return the size (t, h, w) of the features of a clip (T, H, W), the window of the head in training."""
    frames, height, width = (-(-size // stride) for size, stride in zip(clip, strides, strict=True))
    return frames, height, width


def smallest_clip(window: Size3, strides: Size3) -> Size3:
    """Return the smallest clip (T, H, W) whose features fill ``window`` once."""
    frames, height, width = ((size - 1) * stride + 1 for size, stride in zip(window, strides, strict=True))
    return frames, height, width


def with_plain_sizes(blocks: nn.ModuleList) -> nn.ModuleList:
    """Convert every kernel, stride and padding in ``blocks`` to Python integers, and return ``blocks``.

    pytorchvideo computes some of them with numpy, whose integers torch.export does not support.
    """
    for module in blocks.modules():
        for name in ("kernel_size", "stride", "padding"):
            size = getattr(module, name, None)
            if isinstance(size, tuple | list):
                setattr(module, name, tuple(int(number) for number in size))
    return blocks
