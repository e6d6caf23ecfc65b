"""Convolutions that downsample by pooling instead of by their stride.

A strided convolution of a network is replaced by one of these. It IS a convolution, with the parameters ``weight``
and ``bias`` of the one it replaces, so pretrained weights load under the same names and whatever looks for
convolutions (weight decay groups, FLOP counters) finds it.

Output shapes are kept for every size: a strided convolution gives ``floor((m - 1) / s) + 1 = ceil(m / s)`` cells,
m being the cells that it would give unstrided, and windows of s cells with stride s and ``ceil_mode`` cover m cells in
exactly ``ceil(m / s)`` windows, odd sizes included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

from videopool.pooling.base import Pool

if TYPE_CHECKING:
    # The mixin stands before a convolution in every class below, so its super() is one.
    _Base = nn.Conv3d
else:
    _Base = object


class _Pooled(_Base):
    pool: Pool
    pool_first: bool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,Cin,...] to [B,Cout,...] of the shape that the strided convolution gave."""
        if self.pool_first:
            return super().forward(self.pool(x))
        return self.pool(super().forward(x))

    def describe(self) -> str:
        """The pool and the kernel of the convolution, in their order, in one line."""
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
    """``conv`` without its stride and with ``pool`` before or after it; the parameters are shared, not copied.

    Args:
        conv: a plain convolution of torch, or one that pools already and gets another pool.
        pool: the pool whose windows are the stride of ``conv``.
        pool_first: pool and then convolve: the ResNet-D shortcut (He et al. 2018, "Bag of tricks", fig. 2c).
    """
    # Built on the meta device: no memory, no initialisation, and no number drawn from the random generator.
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
