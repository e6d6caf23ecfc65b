"""Average and maximum pooling, and methods made of the two."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from videopool.errors import InputError
from videopool.ops.window import Window
from videopool.pooling.base import Pool, Sizes
from videopool.pooling.cells import CONVOLUTION, in_layout_of, padded, precise, real_cells, window_cells, window_counts
from videopool.pooling.learned import along_channels, check_learned, check_number, parameter_of
from videopool.pooling.weighted import window_average

PoolFunction = Callable[..., torch.Tensor]

_AVERAGE: dict[int, PoolFunction] = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_AVERAGE_ALL: dict[int, PoolFunction] = {
    1: functional.adaptive_avg_pool1d,
    2: functional.adaptive_avg_pool2d,
    3: functional.adaptive_avg_pool3d,
}
_MAXIMUM: dict[int, PoolFunction] = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}

# Powers up to this one are taken of whole planes: in float32 a window counts as zero only if all of its cells are
# below (smallest normal number)^(1/4) = 3e-10 of the largest magnitude of its plane.
_LARGEST_PLAIN_POWER = 4.0


def average(x: torch.Tensor, window: Window) -> torch.Tensor:
    """Return the mean of the real cells of every window of ``x`` [B,C,...] or [C,...]; windows have no dilation.

    The result has the dtype of ``x``, also under autocast, where some of torch's pools return float32 on the CPU.
    """
    window_counts(x, window)
    rank = len(window.kernel_size)
    if window.kernel_size == tuple(x.shape[-rank:]) and not any(window.padding):
        return _AVERAGE_ALL[rank](x, 1).to(x.dtype)
    kernel = _kernel_for(x, window) if window.ceil_mode else window.kernel_size
    # torch's avg_pool3d has no half precision on the CPU, and its result is not channels_last.
    wide = x.float() if rank == 3 and x.device.type == "cpu" and x.dtype.itemsize == 2 else x
    y = _AVERAGE[rank](wide, kernel, window.stride, window.padding, window.ceil_mode, count_include_pad=False)
    return in_layout_of(y.to(x.dtype), x)


def maximum(x: torch.Tensor, window: Window) -> torch.Tensor:
    """Return the largest cell of every window of ``x`` [B,C,...] or [C,...], in its dtype."""
    window_counts(x, window)
    return _MAXIMUM[len(window.kernel_size)](x, *window).to(x.dtype)


def _kernel_for(x: torch.Tensor, window: Window) -> tuple[int, ...]:
    """Return the kernel, cut where the only window that ``ceil_mode`` keeps extends past both ends of an axis.

    torch does not allow such an average, though it allows the maximum. The cut kernel has the same real cells.
    """
    rank = len(window.kernel_size)
    sizes = (size + 2 * pad for size, pad in zip(x.shape[-rank:], window.padding, strict=True))
    axes = zip(sizes, window.kernel_size, window.stride, strict=True)
    return tuple(size if kernel - stride < size < kernel else kernel for size, kernel, stride in axes)


class AvgPool(Pool):
    """The mean of the real cells of a window (padded cells are not counted).

    Raises:
        InputError: for a dilated window, which torch's average pooling does not support.
    """

    method = "avg"
    dilatable = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool ``x`` [B,C,...] to [B,C,...] of the same dtype."""
        return average(x, self.windows_over(x))


class MaxPool(Pool):
    """The largest cell of a window."""

    method = "max"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool ``x`` [B,C,...] to [B,C,...] of the same dtype."""
        return maximum(x, self.windows_over(x))


class LpPool(Pool):
    """The power average ``(mean |x_i|^p)^(1/p)`` over the real cells; torch's ``lp_pool`` sums where this averages.

    It pools magnitudes: signs are lost. After a ReLU it ranges from the average (p = 1) to the maximum (p towards
    infinity). A learned p is the exponent of Gulcehre et al., "Learned-Norm Pooling for Deep Feedforward and Recurrent
    Neural Networks" (ECML 2014): ``p = 1 + softplus(rho)`` with the parameter ``rho``.

    Numbers: the cells are divided by the largest magnitude of the plane (one sample, one channel) for a fixed p of at
    most 4, and of each window otherwise, so that no power overflows. float16 and bfloat16 are computed in float32. A
    window of zeros gives 0, with the gradient 0.

    Args:
        p: the exponent, at least 1; if it is learned, its start, above 1.
        learned: "none"; "shared" for one learned exponent of the layer; "channel" for one of each channel.

    Raises:
        InputError: for an exponent that is not finite or below 1, an unknown ``learned``, and a dilated window.
    """

    method = "lp"
    dilatable = False

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
        p: float = 2.0,
        learned: str = "none",
    ) -> None:
        super().__init__(rank, kernel_size, stride, padding, dilation, ceil_mode, channels=channels)
        self.p, self.learned = check_number(self, "p", p), check_learned(self, learned)
        if not (1 <= self.p < math.inf):
            raise InputError(f"p={p} of 'lp' pooling must be a finite number of 1 or more")
        if learned != "none":
            if self.p == 1:
                raise InputError("p=1.0 of 'lp' pooling must be above 1 if it is learned. Give p=1.5, for example.")
            self.rho = parameter_of(self, learned, _inverse_softplus(self.p - 1))

    def exponent(self) -> float | torch.Tensor:
        """Return the exponent p: the fixed number, or the learned one as a tensor [] or [C]."""
        return self.p if self.learned == "none" else 1 + functional.softplus(self.rho)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool ``x`` [B,C,...] to [B,C,...] of the same dtype."""
        window = self.windows_over(x)
        cells, p = precise(x), self.exponent()
        if not isinstance(p, float) or p % 2:  # even powers do not need magnitudes
            cells = cells.abs()
        if self.kernel_size is None or (isinstance(p, float) and p <= _LARGEST_PLAIN_POWER):
            y = _power_average_of_planes(cells, window, self._spread(p, self.rank))
        else:
            y = in_layout_of(_power_average_of_cells(cells, window, self._spread(p, self.rank + 1)), x)
        return y.to(x.dtype)

    def _spread(self, p: float | torch.Tensor, axes: int) -> float | torch.Tensor:
        return p if isinstance(p, float) else along_channels(precise(p), axes)


def _power_average_of_planes(x: torch.Tensor, window: Window, p: float | torch.Tensor) -> torch.Tensor:
    """Return the power average of ``x`` [B,C,...], each plane divided by its largest magnitude: no power exceeds 1."""
    top = _scale(x.detach().abs().amax(list(range(-len(window.kernel_size), 0)), keepdim=True))
    return top * _root(window_average((x / top).pow(p), window), p)


def _power_average_of_cells(x: torch.Tensor, window: Window, p: float | torch.Tensor) -> torch.Tensor:
    """Return the power average of ``x`` [B,C,...], each window divided by its largest magnitude."""
    cells = window_cells(x, window, 0.0)
    top = _scale(cells.detach().abs().amax(-1, keepdim=True))
    count = real_cells(x, window).sum(-1, keepdim=True)
    return (top * _root((cells / top).pow(p).sum(-1, keepdim=True) / count, p)).squeeze(-1)


def _scale(top: torch.Tensor) -> torch.Tensor:
    """Return magnitudes as divisors: 1 for 0, and the largest finite number for infinity."""
    return torch.where(top > 0, top, 1.0).clamp(max=torch.finfo(top.dtype).max)


def _root(mean: torch.Tensor, p: float | torch.Tensor) -> torch.Tensor:
    """Return ``mean^(1/p)``, with the gradient 0 where the mean is 0 or subnormal."""
    absent = mean < torch.finfo(mean.dtype).tiny
    return torch.where(absent, 0.0, torch.where(absent, 1.0, mean).pow(1 / p))


def _inverse_softplus(value: float) -> float:
    return value + math.log(-math.expm1(-value))


class MixedPool(Pool):
    """``alpha * max + (1 - alpha) * average`` (Lee, Gallagher, Tu, "Generalizing Pooling Functions in Convolutional
    Neural Networks: Mixed, Gated, and Tree", AISTATS 2016, section 3.1).

    The paper learns alpha without bounds, so it can leave the range from 0 to 1; here a learned alpha is the sigmoid of
    the parameter ``logit``. (Yu et al., "Mixed Pooling for Convolutional Neural Networks", RSKT 2014, draw alpha from
    {0, 1} for each layer instead.)

    Args:
        alpha: share of the maximum, from 0 to 1; if it is learned, its start, strictly between them.
        learned: "none"; "shared" for one learned share of the layer; "channel" for one of each channel.

    Raises:
        InputError: for an alpha out of range, an unknown ``learned``, and a dilated window.
    """

    method = "mixed"
    dilatable = False

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
        alpha: float = 0.5,
        learned: str = "none",
    ) -> None:
        super().__init__(rank, kernel_size, stride, padding, dilation, ceil_mode, channels=channels)
        self.alpha, self.learned = check_number(self, "alpha", alpha), check_learned(self, learned)
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha={alpha} of 'mixed' pooling must be from 0 to 1 (the share of the maximum)")
        if learned != "none":
            if self.alpha in (0, 1):
                raise InputError(f"alpha={self.alpha!r} of 'mixed' pooling must be between 0 and 1 if it is learned")
            self.logit = parameter_of(self, learned, math.log(self.alpha) - math.log1p(-self.alpha))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool ``x`` [B,C,...] to [B,C,...] of the same dtype."""
        window = self.windows_over(x)
        alpha: float | torch.Tensor = self.alpha
        if self.learned != "none":
            alpha = along_channels(torch.sigmoid(self.logit), self.rank)
        return _blend(maximum(x, window), average(x, window), alpha)


def _blend(top: torch.Tensor, mean: torch.Tensor, share: float | torch.Tensor) -> torch.Tensor:
    """Return ``share * top + (1 - share) * mean`` in the dtype of ``top``; a difference of the two could overflow."""
    return (share * precise(top) + (1 - share) * precise(mean)).to(top.dtype)


class GatedPool(Pool):
    """``g * max + (1 - g) * average`` with the gate ``g = sigmoid(w . x_R)`` of each window R (Lee, Gallagher, Tu,
    "Generalizing Pooling Functions in Convolutional Neural Networks: Mixed, Gated, and Tree", AISTATS 2016, section
    3.2).

    ``w`` has the size of the window and starts at zero, which mixes the two equally. Every channel is gated by its own
    cells; padded cells count as 0 in ``w . x_R``.

    Args:
        learned: "shared" for one ``w`` of the layer, "channel" for one of each channel.

    Raises:
        InputError: for an unknown ``learned``, a dilated window, and a global pool, whose window has no fixed size.
    """

    method = "gated"
    dilatable = False

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
        learned: str = "shared",
    ) -> None:
        super().__init__(rank, kernel_size, stride, padding, dilation, ceil_mode, channels=channels)
        if self.kernel_size is None:
            raise InputError(
                "'gated' pooling has a weight for each cell of its window and cannot be global (kernel_size=None). "
                "Give a kernel_size, or use 'mixed' there."
            )
        self.learned = check_learned(self, learned, ("shared", "channel"))
        # For each channel [C,1,*kernel], as in a convolution: torch's memory formats need this number of axes.
        self.weight = parameter_of(self, learned, 0.0, (*(1,) * (learned == "channel"), *self.kernel_size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool ``x`` [B,C,...] to [B,C,...] of the same dtype."""
        window = self.windows_over(x)
        top, mean = maximum(x, window), average(x, window)
        return _blend(top, mean, torch.sigmoid(precise(weighted_sum(x, self.weight, window))))


def weighted_sum(x: torch.Tensor, weight: torch.Tensor, window: Window) -> torch.Tensor:
    """Return ``sum_i w_i x_i`` over every window and channel of ``x`` [B,C,...] or [C,...]; padded cells are 0.

    ``weight`` is [*kernel] or [C,1,*kernel].
    """
    rank = len(window.kernel_size)
    channels = x.shape[-rank - 1]
    taps = weight.to(x.dtype).expand(channels, 1, *window.kernel_size)
    cells = padded(x, window, 0.0)
    y = CONVOLUTION[rank](cells, taps, stride=window.stride, dilation=window.dilation, groups=channels)
    return in_layout_of(y, x)
