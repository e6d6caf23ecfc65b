"""Pooling by softmax weights with the native ops of ``videopool.ops``: SoftPool, and adaPool with its two parts."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from videopool import ops
from videopool.errors import InputError
from videopool.ops.window import Window
from videopool.pooling.base import Pool, Sizes
from videopool.pooling.cells import in_layout_of, precise, real_cells, window_cells
from videopool.pooling.learned import along_channels, check_flag, check_learned, check_number, parameter_of

PoolFunction = Callable[..., torch.Tensor]

_SOFT: dict[int, PoolFunction] = {1: ops.soft_pool1d, 2: ops.soft_pool2d, 3: ops.soft_pool3d}
_SOFTMAX: dict[int, PoolFunction] = {1: ops.softmax_pool1d, 2: ops.softmax_pool2d, 3: ops.softmax_pool3d}


class SoftPool(Pool):
    """SoftPool (Stergiou et al., ICCV 2021, arXiv 2101.00440): ``sum_i w_i x_i``, ``w = softmax(beta * x)``.

    Args:
        beta: inverse temperature; at 0 it gives the average, towards infinity the maximum.
        detach_weights: hold the weights constant in backward, as the paper does; False uses the exact gradient.
        learned: "none" keeps beta; "shared" makes it a parameter [] of the layer, "channel" a parameter [C], which
            start at ``beta``. Its gradient is exact: ``dy/dbeta = sum_i w_i (x_i - y) x_i``.

    Raises:
        InputError: for a beta that is not finite, an unknown ``learned``, a learned beta without gradient
            (``detach_weights``), or one for each of an unknown number of channels.
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
        learned: str = "none",
    ) -> None:
        super().__init__(rank, kernel_size, stride, padding, dilation, ceil_mode, channels=channels)
        self.initial_beta = check_number(self, "beta", beta)
        if not math.isfinite(self.initial_beta):
            raise InputError(f"beta={beta} of '{self.method}' pooling must be finite. Use 'max' for the limit.")
        self.learned = check_learned(self, learned)
        self.detach_weights = check_flag(self, "detach_weights", detach_weights)
        if learned != "none" and detach_weights:
            raise InputError(f"learned='{learned}' needs the gradient of the weights. Remove detach_weights.")
        self.beta = self.initial_beta if learned == "none" else parameter_of(self, learned, self.initial_beta)
        self.relu = False  # see videopool.pooling.fuse_relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool ``x`` [B,C,...] to [B,C,...] of the same dtype."""
        # The logits of a learned beta are tensors, which half precision would round or overflow.
        z = x if self.learned == "none" else precise(x)
        window = self.windows_over(x)
        return _soft(z, window, self.beta, detach_weights=self.detach_weights, relu=self.relu).to(x.dtype)

    def own(self) -> str:
        """Return beta, gradient and fused ReLU unless they have their defaults."""
        beta = self.beta if self.learned == "none" else self.initial_beta
        words = [f"beta {beta!r}"] if beta != 1.0 else []
        words += [f"learned ({self.learned})"] * (self.learned != "none")
        return " ".join(words + ["detached"] * self.detach_weights + ["of relu"] * self.relu)


class EMPool(SoftPool):
    """The exponential maximum of adaPool: SoftPool with beta 1 and the exact gradient, without own arguments.

    Stergiou, Poppe, "AdaPool: Exponential Adaptive Pooling for Information-Retaining Downsampling", IEEE Transactions
    on Image Processing 2022.
    """

    method = "em"

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
    ) -> None:
        super().__init__(rank, kernel_size, stride, padding, dilation, ceil_mode, channels=channels)


class EDSCWPool(Pool):
    """Exponential weights of the Dice-Sorensen coefficient of each cell and the mean (adaPool, as for EMPool)::

        m = mean of the window      w = softmax_i(2 |x_i m| / (x_i^2 + m^2))      y = sum_i w_i x_i

    A coefficient is between 0 and 1, so weights are within a factor of e of each other, and the result is near the
    average. It does not depend on the scale of the window, and is computed in units of the window's largest cell, so
    that no square overflows. Where ``x_i = m = 0`` it is 0: the square of the machine precision is added to the
    denominator in these units, which is below the rounding elsewhere and keeps every gradient finite. A window of
    zeros is averaged. The gradient is exact, also through ``m``; at a kink, ``x_i = 0`` or ``m = 0``, it is that of
    ``|x| = 0``. Half precision is computed in float32.
    """

    method = "edscw"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool ``x`` [B,C,...] to [B,C,...] of the same dtype."""
        return _edscw(precise(x), self.windows_over(x)).to(x.dtype)


class AdaPool(Pool):
    """adaPool (Stergiou, Poppe, IEEE TIP 2022, see EMPool): ``b * eDSCW + (1 - b) * eM`` with a learned b.

    The paper learns one b for each output cell of a layer (a region mask, clipped to [0, 1] in the authors' code). That
    fixes the input size of a layer, but video networks are evaluated at another size than they are trained at; so here
    the layer or each channel has one b. It is ``sigmoid(mixing)`` of the parameter ``mixing``, which starts at 0, so b
    starts at 0.5 and, unlike a clipped one, has a gradient everywhere.

    Args:
        channels: channels C of the input, for ``learned="channel"``.
        learned: "shared" for one b, "channel" for C of them.

    Raises:
        InputError: for an unknown ``learned``, or one b for each of an unknown number of channels.
    """

    method = "adapool"

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
        self.learned = check_learned(self, learned, ("shared", "channel"))
        self.mixing = parameter_of(self, learned, 0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool ``x`` [B,C,...] to [B,C,...] of the same dtype."""
        z, window = precise(x), self.windows_over(x)
        share = torch.sigmoid(along_channels(self.mixing.to(z.dtype), self.rank))
        return torch.lerp(_soft(z, window), _edscw(z, window), share).to(x.dtype)


def softmax_pool(values: torch.Tensor, logits: torch.Tensor, window: Window) -> torch.Tensor:
    """Pool ``values`` [B,C,...] or [C,...] by the softmax of ``logits`` of the same shape."""
    return _SOFTMAX[len(window.kernel_size)](values, logits, *window)


def window_average(x: torch.Tensor, window: Window) -> torch.Tensor:
    """Return the mean of the real cells of every window, dilated ones included: SoftPool with beta 0."""
    return _soft(x, window, 0.0)


def softmax_of_cells(cells: torch.Tensor, logits: torch.Tensor, x: torch.Tensor, window: Window) -> torch.Tensor:
    """Pool the ``cells`` [B,C,*out,K] of the windows over ``x`` by the softmax of ``logits`` over K -> [B,C,*out].

    Cells outside ``x`` have no weight, regardless of their value.
    """
    if window.ceil_mode or any(window.padding):
        logits = logits.masked_fill(~real_cells(x, window), -math.inf)
    y = ops.softmax_pool1d(cells.flatten(2), logits.flatten(2), cells.shape[-1])
    return y.view(cells.shape[:-1])


def _soft(x: torch.Tensor, window: Window, beta: float | torch.Tensor = 1.0, **options: bool) -> torch.Tensor:
    y = _SOFT[len(window.kernel_size)](x, *window, beta=beta, **options)
    return in_layout_of(y, x)


def _edscw(x: torch.Tensor, window: Window) -> torch.Tensor:
    """Pool float32 or float64 [B,C,...] or [C,...] as ``EDSCWPool``."""
    if x.dim() == len(window.kernel_size) + 1:
        return _edscw(x.unsqueeze(0), window).squeeze(0)
    cells = window_cells(x, window, 0.0)
    largest = cells.detach().abs().amax(-1, keepdim=True)
    unit = torch.where(largest > 0, largest, 1.0)
    u = cells / unit
    mean = u.sum(-1, keepdim=True) / real_cells(x, window).sum(-1, keepdim=True)
    coefficient = 2 * (u * mean).abs() / (u**2 + mean**2 + torch.finfo(x.dtype).eps ** 2)
    return in_layout_of(unit.squeeze(-1) * softmax_of_cells(u, coefficient, x, window), x)
