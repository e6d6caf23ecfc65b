"""Pooling by softmax weights, on the native ops of ``videopool.ops``."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from videopool import ops
from videopool.errors import InputError
from videopool.pooling.base import Pool, Sizes

PoolFunction = Callable[..., torch.Tensor]

_SOFT: dict[int, PoolFunction] = {1: ops.soft_pool1d, 2: ops.soft_pool2d, 3: ops.soft_pool3d}


class SoftPool(Pool):
    """SoftPool (Stergiou et al., ICCV 2021, arXiv 2101.00440): ``sum_i w_i x_i``, ``w = softmax(beta * x)``.

    Args:
        beta: inverse temperature; towards 0 it becomes the average, towards infinity the maximum.
        detach_weights: hold the weights constant in backward, as the paper does; False takes the exact gradient.

    Raises:
        InputError: for a beta that is not finite.
    """

    method = "soft"

    def __init__(
        self,
        rank: int,
        kernel_size: Sizes | None,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        *,
        channels: int | None = None,
        beta: float = 1.0,
        detach_weights: bool = False,
    ) -> None:
        super().__init__(rank, kernel_size, stride, padding, dilation, ceil_mode, channels=channels)
        if not math.isfinite(beta):
            raise InputError(f"beta {beta} of soft pooling is not a finite number")
        self.beta = float(beta)
        self.detach_weights = bool(detach_weights)
        self.relu = False  # see videopool.pooling.fuse_relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,C,...] to the pooled [B,C,...] of the same dtype."""
        soft = _SOFT[self.rank]
        w = self._windows(x)
        return soft(
            x,
            w.kernel_size,
            w.stride,
            w.padding,
            w.dilation,
            w.ceil_mode,
            beta=self.beta,
            detach_weights=self.detach_weights,
            relu=self.relu,
        )

    def own(self) -> str:
        """Beta, gradient and fused ReLU where they are not the default."""
        words = [f"beta {self.beta!r}"] if self.beta != 1.0 else []
        return " ".join(words + ["detached"] * self.detach_weights + ["of relu"] * self.relu)
