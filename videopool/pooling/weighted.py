"""Pooling by softmax weights, on the native ops of ``videopool.ops``: SoftPool and what adaPool is made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from videopool import ops
from videopool.errors import InputError
from videopool.pooling.base import Pool, Sizes, Windows
from videopool.pooling.cells import in_layout_of, real_cells, window_cells
from videopool.pooling.learned import along_channels, check_flag, check_learned, check_number, parameter_of

PoolFunction = Callable[..., torch.Tensor]

_SOFT: dict[int, PoolFunction] = {1: ops.soft_pool1d, 2: ops.soft_pool2d, 3: ops.soft_pool3d}


class SoftPool(Pool):
    """SoftPool (Stergiou et al., ICCV 2021, arXiv 2101.00440): ``sum_i w_i x_i``, ``w = softmax(beta * x)``.

    Args:
        beta: inverse temperature; towards 0 it becomes the average, towards infinity the maximum.
        detach_weights: hold the weights constant in backward, as the paper does; False takes the exact gradient.
        learned: "none" keeps beta; "shared" makes it a parameter [] of the layer, "channel" a parameter [C], which
            begin at ``beta``. Its gradient is exact: ``dy/dbeta = sum_i w_i (x_i - y) x_i``.

    Raises:
        InputError: for a beta that is not finite, another ``learned``, a learned beta without gradient
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
            raise InputError(f"beta {beta} of '{self.method}' pooling is not a finite number; take 'max' for the limit")
        self.learned = check_learned(self, learned)
        self.detach_weights = check_flag(self, "detach_weights", detach_weights)
        if learned != "none" and detach_weights:
            raise InputError(f"learned '{learned}' needs the gradient of the weights; leave out detach_weights")
        self.beta = self.initial_beta if learned == "none" else parameter_of(self, learned, self.initial_beta)
        self.relu = False  # see videopool.pooling.fuse_relu

    @classmethod
    def needs_channels(cls, **arguments: Any) -> bool:
        """When beta is learned for each channel."""
        return arguments.get("learned") == "channel"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,C,...] to the pooled [B,C,...] of the same dtype."""
        # The logits of a learned beta are tensors, and would be rounded to half precision, or overflow it.
        z = x if self.learned == "none" else precise(x)
        windows = self._windows(x)
        return _soft(z, windows, self.beta, detach_weights=self.detach_weights, relu=self.relu).to(x.dtype)

    def own(self) -> str:
        """Beta, gradient and fused ReLU where they are not the default."""
        beta = self.beta if self.learned == "none" else self.initial_beta
        words = [f"beta {beta!r}"] if beta != 1.0 else []
        words += [f"learned ({self.learned})"] * (self.learned != "none")
        return " ".join(words + ["detached"] * self.detach_weights + ["of relu"] * self.relu)


class EMPool(SoftPool):
    """The exponential maximum of adaPool: SoftPool with beta 1 and the exact gradient, and nothing to choose.

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

    A coefficient lies between 0 and 1, so weights are within a factor of e of each other, and the result is near the
    average. It is the same for every scale of the window, and is computed in units of the window's largest cell: no
    square overflows. Where ``x_i = m = 0`` leaves it open, it is 0: the square of the machine precision is added
    to the denominator in these units. That is below the rounding elsewhere and keeps every gradient finite; a window of
    zeros is averaged. The gradient is exact, also through ``m``; at a kink, ``x_i = 0`` or ``m = 0``, it is that of
    ``|x| = 0``. Half precision is computed in float32.
    """

    method = "edscw"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,C,...] to the pooled [B,C,...] of the same dtype."""
        return _edscw(precise(x), self._windows(x)).to(x.dtype)


class AdaPool(Pool):
    """adaPool (Stergiou, Poppe, IEEE TIP 2022, see EMPool): ``b * eDSCW + (1 - b) * eM`` with a learned b.

    The paper learns one b for each output cell of a layer (a region mask, clipped to [0, 1] in the authors' code). That
    ties a layer to one size of input, and video networks are evaluated at another than they are trained at; so here
    b belongs to the layer or to a channel. It is ``sigmoid(mixing)`` of the parameter ``mixing``, which begins at 0, so
    b begins at 0.5 and, unlike a clipped one, has a gradient everywhere.

    Args:
        channels: channels C of the input, for ``learned="channel"``.
        learned: "shared" for one b, "channel" for C of them.

    Raises:
        InputError: for another ``learned``, or one for each of an unknown number of channels.
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

    @classmethod
    def needs_channels(cls, **arguments: Any) -> bool:
        """When the mixture is learned for each channel."""
        return arguments.get("learned") == "channel"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,C,...] to the pooled [B,C,...] of the same dtype."""
        z, windows = precise(x), self._windows(x)
        share = torch.sigmoid(along_channels(self.mixing.to(z.dtype), self.rank))
        return torch.lerp(_soft(z, windows), _edscw(z, windows), share).to(x.dtype)

    def own(self) -> str:
        """What the mixture is learned for, where it is not the layer."""
        return "learned (channel)" if self.learned == "channel" else ""


def precise(x: torch.Tensor) -> torch.Tensor:
    """Half precision as float32; others as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def window_average(x: torch.Tensor, windows: Windows) -> torch.Tensor:
    """The mean of the real cells of every window, dilated ones included: SoftPool with beta 0."""
    return _soft(x, windows, 0.0)


def softmax_of_cells(cells: torch.Tensor, logits: torch.Tensor, x: torch.Tensor, windows: Windows) -> torch.Tensor:
    """Pool the ``cells`` [B,C,*out,K] of the windows over ``x`` by the softmax of ``logits`` over K -> [B,C,*out].

    Cells outside of ``x`` have no weight, whatever is written there.
    """
    if windows.ceil_mode or any(windows.padding):
        logits = logits.masked_fill(~real_cells(x, windows), -math.inf)
    y = ops.softmax_pool1d(cells.flatten(2), logits.flatten(2), cells.shape[-1])
    return y.view(cells.shape[:-1])


def _soft(x: torch.Tensor, w: Windows, beta: float | torch.Tensor = 1.0, **options: bool) -> torch.Tensor:
    pool = _SOFT[len(w.kernel_size)]
    y = pool(x, w.kernel_size, w.stride, w.padding, w.dilation, w.ceil_mode, beta=beta, **options)
    return in_layout_of(y, x)


def _edscw(x: torch.Tensor, windows: Windows) -> torch.Tensor:
    """The pooling of ``EDSCWPool`` for float32 or float64 [B,C,...] or [C,...]."""
    if x.dim() == len(windows.kernel_size) + 1:
        return _edscw(x.unsqueeze(0), windows).squeeze(0)
    cells = window_cells(x, windows, 0.0)
    largest = cells.detach().abs().amax(-1, keepdim=True)
    unit = torch.where(largest > 0, largest, 1.0)
    u = cells / unit
    mean = u.sum(-1, keepdim=True) / real_cells(x, windows).sum(-1, keepdim=True)
    coefficient = 2 * (u * mean).abs() / (u**2 + mean**2 + torch.finfo(x.dtype).eps ** 2)
    return in_layout_of(unit.squeeze(-1) * softmax_of_cells(u, coefficient, x, windows), x)
