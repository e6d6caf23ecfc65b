"""Convolutions that downsample by pooling instead of striding; they replace the strided ones of a network.

They are convolutions with the parameters ``weight`` and ``bias`` of those that they replace, so pretrained weights load
under the same names, and code that looks for convolutions (weight decay groups, FLOP counters) finds them.

Output shapes stay the same for every size: a strided convolution gives ``floor((m - 1) / s) + 1 = ceil(m / s)`` cells
if m is the number without the stride, and windows of s cells with stride s and ``ceil_mode`` cover m cells in exactly
``ceil(m / s)`` windows, odd sizes included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from videopool.pooling.base import Pool

if TYPE_CHECKING:
    # In every class below, a convolution follows this mixin, so super() is one.
    _Base = nn.Conv3d
else:
    _Base = object


class _Pooled(_Base):
    pool: Pool
    pool_first: bool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B,Cout,...] of ``x`` [B,Cin,...], in the shape that the strided convolution gives."""
        if self.pool_first:
            return super().forward(self.pool(x))
        return self.pool(super().forward(x))

    def describe(self) -> str:
        """Return the pool and the kernel of the convolution, in their order, in one line."""
        conv = f"conv {'x'.join(map(str, self.kernel_size))}"
        return f"{self.pool.describe()}, {conv}" if self.pool_first else f"{conv}, {self.pool.describe()}"


class PooledConv1d(_Pooled, nn.Conv1d):  # type: ignore[misc]
    """An unstrided ``nn.Conv1d`` with a pool before (``pool_first``) or after it."""


class PooledConv2d(_Pooled, nn.Conv2d):  # type: ignore[misc]
    """An unstrided ``nn.Conv2d`` with a pool before (``pool_first``) or after it."""


class PooledConv3d(_Pooled, nn.Conv3d):
    """An unstrided ``nn.Conv3d`` with a pool before (``pool_first``) or after it."""


Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d
PooledConv = PooledConv1d | PooledConv2d | PooledConv3d
_CLASSES: dict[type[nn.Module], Callable[..., PooledConv]] = {
    nn.Conv1d: PooledConv1d,
    nn.Conv2d: PooledConv2d,
    nn.Conv3d: PooledConv3d,
    PooledConv1d: PooledConv1d,
    PooledConv2d: PooledConv2d,
    PooledConv3d: PooledConv3d,
}


def pooled_conv(conv: Conv, pool: Pool, *, pool_first: bool) -> PooledConv:
    """Return ``conv`` without its stride and with ``pool`` before or after it; the parameters are shared, not copied.

    Args:
        conv: a convolution of torch, or a pooled one, which gets another pool.
        pool: the pool whose windows are the stride of ``conv``.
        pool_first: pool, then convolve: the ResNet-D shortcut (He et al. 2018, "Bag of tricks", fig. 2c).
    """
    # On the meta device: no memory, no initialization, no random numbers.
    pooled = _CLASSES[type(conv)](
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        1,
        conv.padding,
        conv.dilation,
        conv.groups,
        conv.bias is not None,
        conv.padding_mode,
        device="meta",
    )
    pooled.weight, pooled.bias = conv.weight, conv.bias
    pooled.pool, pooled.pool_first = pool, pool_first
    return pooled.train(conv.training)
