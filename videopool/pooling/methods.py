"""The pooling methods as modules of one constructor shape.

Every method is ``Method(rank, kernel_size, stride, padding, dilation, ceil_mode)`` plus keyword arguments of
its own; ``rank`` is the number of pooled axes (1: [B,C,T], 2: [B,C,H,W], 3: [B,C,T,H,W]). The shape rules are
those of ``torch.nn.functional.max_pool3d``. ``kernel_size=None`` pools the whole extent to one cell.

All methods see the same cells: a padded cell belongs to no window, so the average divides by the number of real
cells (``count_include_pad=False``), as the maximum and SoftPool ignore padding by definition. A comparison of
methods then differs in the formula alone, also at the border.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from videopool import ops
from videopool.errors import InputError

PoolFunction = Callable[..., torch.Tensor]

_AVERAGE: dict[int, PoolFunction] = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_AVERAGE_ALL: dict[int, PoolFunction] = {
    1: functional.adaptive_avg_pool1d,
    2: functional.adaptive_avg_pool2d,
    3: functional.adaptive_avg_pool3d,
}
_MAXIMUM: dict[int, PoolFunction] = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_SOFT: dict[int, PoolFunction] = {1: ops.soft_pool1d, 2: ops.soft_pool2d, 3: ops.soft_pool3d}


def per_axis(value: int | Sequence[int], rank: int, name: str) -> tuple[int, ...]:
    """``value`` as ``rank`` plain integers; a single number stands for every axis.

    Raises:
        InputError: when a sequence has another length than ``rank``.
    """
    if not isinstance(value, Sequence):
        return (int(value),) * rank
    if len(value) == 1:
        return (int(value[0]),) * rank
    if len(value) != rank:
        raise InputError(f"{name} {tuple(value)} has {len(value)} numbers; a rank-{rank} pool takes 1 or {rank}")
    return tuple(int(number) for number in value)


def describe_window(
    kernel_size: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> str:
    """One line for a window, such as ``1x3x3 stride 1x2x2 padding 0x1x1``; ``global`` for the whole extent."""
    if kernel_size is None:
        return "global"
    words = [_times(kernel_size), "stride", _times(stride)]
    if any(padding):
        words += ["padding", _times(padding)]
    if any(step != 1 for step in dilation):
        words += ["dilation", _times(dilation)]
    return " ".join([*words, "ceil"] if ceil_mode else words)


def _times(numbers: Sequence[int]) -> str:
    return "x".join(str(number) for number in numbers)


class Pool(nn.Module):
    """A pooling layer over the last ``rank`` axes of [B,C,...] (or [C,...]).

    Args:
        rank: 1, 2 or 3 pooled axes.
        kernel_size: the window, one number or one for each axis; None pools the whole extent to one cell.
        stride: step between windows; None means ``kernel_size``.
        padding: cells added at both ends of each axis, which no window counts; at most half of the kernel.
        dilation: step between the cells of a window.
        ceil_mode: round the number of windows up, so that a last, partly filled window is kept.

    Raises:
        InputError: for a window that cannot exist.
    """

    method: ClassVar[str]

    def __init__(
        self,
        rank: int,
        kernel_size: int | Sequence[int] | None,
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        if rank not in (1, 2, 3):
            raise InputError(f"rank {rank} is not 1, 2 or 3 pooled axes")
        self.rank = rank
        self.kernel_size = None if kernel_size is None else per_axis(kernel_size, rank, "kernel_size")
        own_stride = stride if stride is not None else self.kernel_size
        self.stride = per_axis(1 if own_stride is None else own_stride, rank, "stride")
        self.padding = per_axis(padding, rank, "padding")
        self.dilation = per_axis(dilation, rank, "dilation")
        self.ceil_mode = bool(ceil_mode)
        self._check_window()

    def _check_window(self) -> None:
        sizes = (*(self.kernel_size or ()), *self.stride, *self.dilation)
        if min(sizes) < 1 or min(self.padding) < 0:
            raise InputError(f"window {self.window()} has a size below 1 or a negative padding")
        if self.kernel_size is None and (any(self.padding) or max(*self.stride, *self.dilation) > 1):
            raise InputError("a global pool (kernel_size=None) takes no stride, padding or dilation")
        sizes_of_axes = zip(self.kernel_size or (), self.dilation, self.padding, strict=False)
        if any(2 * pad > (kernel - 1) * step + 1 for kernel, step, pad in sizes_of_axes):
            raise InputError(f"window {self.window()} is padded by more than half of its size")

    def window(self) -> str:
        """The window in one line."""
        return describe_window(self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def describe(self) -> str:
        """Method, its own arguments, and window in one line: what a swap report prints."""
        return f"{self.method} {self.window()}"

    def extra_repr(self) -> str:
        """What ``print(model)`` shows between the brackets."""
        return self.window()


class AvgPool(Pool):
    """The mean of the real cells of a window (padded cells are not counted).

    Raises:
        InputError: for a dilated window, which torch's average pooling does not have.
    """

    method = "avg"

    def _check_window(self) -> None:
        super()._check_window()
        if any(step != 1 for step in self.dilation):
            raise InputError(f"average pooling has no dilation, got {self.dilation}; take 'max' or 'soft' there")

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
        kernel_size: int | Sequence[int] | None,
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        ceil_mode: bool = False,
        *,
        beta: float = 1.0,
        detach_weights: bool = False,
    ) -> None:
        super().__init__(rank, kernel_size, stride, padding, dilation, ceil_mode)
        if not math.isfinite(beta):
            raise InputError(f"beta {beta} of soft pooling is not a finite number")
        self.beta = float(beta)
        self.detach_weights = bool(detach_weights)
        self.relu = False  # see videopool.pooling.fuse_relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,C,...] to the pooled [B,C,...] of the same dtype."""
        soft = _SOFT[self.rank]
        if self.kernel_size is None:
            window = (tuple(x.shape[-self.rank :]),)
            return soft(x, *window, beta=self.beta, detach_weights=self.detach_weights, relu=self.relu)
        return soft(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            beta=self.beta,
            detach_weights=self.detach_weights,
            relu=self.relu,
        )

    def describe(self) -> str:
        """Method, beta and gradient where they are not the default, and window in one line."""
        own = f" beta {self.beta!r}" if self.beta != 1.0 else ""
        own += " detached" if self.detach_weights else ""
        own += " of relu" if self.relu else ""
        return f"{self.method}{own} {self.window()}"

    def extra_repr(self) -> str:
        """What ``print(model)`` shows between the brackets."""
        return f"{self.window()}, beta={self.beta!r}, detach_weights={self.detach_weights}"


METHODS: dict[str, type[Pool]] = {"avg": AvgPool, "max": MaxPool, "soft": SoftPool}
