"""Pooling without weights that depend on the input: average and maximum, and what is made of the two."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from videopool.pooling.base import Pool

PoolFunction = Callable[..., torch.Tensor]

_AVERAGE: dict[int, PoolFunction] = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_AVERAGE_ALL: dict[int, PoolFunction] = {
    1: functional.adaptive_avg_pool1d,
    2: functional.adaptive_avg_pool2d,
    3: functional.adaptive_avg_pool3d,
}
_MAXIMUM: dict[int, PoolFunction] = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


class AvgPool(Pool):
    """The mean of the real cells of a window (padded cells are not counted).

    Raises:
        InputError: for a dilated window, which torch's average pooling does not have.
    """

    method = "avg"
    dilatable = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,C,...] to the pooled [B,C,...] of the same dtype."""
        if self.kernel_size is None:
            return _AVERAGE_ALL[self.rank](x, 1)
        average, kernel = _AVERAGE[self.rank], self._kernel_for(x, self.kernel_size)
        return average(x, kernel, self.stride, self.padding, self.ceil_mode, count_include_pad=False)

    def _kernel_for(self, x: torch.Tensor, kernel_size: tuple[int, ...]) -> tuple[int, ...]:
        """``kernel_size``, cut where the only window that ``ceil_mode`` keeps reaches past both ends of an axis.

        torch refuses such an average, though not such a maximum; the cells inside of it are the same when it is cut.
        """
        if not self.ceil_mode:
            return kernel_size
        sizes = (size + 2 * pad for size, pad in zip(x.shape[-self.rank :], self.padding, strict=True))
        axes = zip(sizes, kernel_size, self.stride, strict=True)
        return tuple(size if kernel - stride < size < kernel else kernel for size, kernel, stride in axes)


class MaxPool(Pool):
    """The largest cell of a window."""

    method = "max"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,C,...] to the pooled [B,C,...] of the same dtype."""
        maximum = _MAXIMUM[self.rank]
        if self.kernel_size is None:
            return maximum(x, x.shape[-self.rank :])
        return maximum(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
