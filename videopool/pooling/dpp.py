"""Detail-preserving pooling: cells weigh more the more they differ from a smoothed image."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from videopool.ops.window import Window
from videopool.pooling.base import Pool, Sizes
from videopool.pooling.cells import CONVOLUTION, in_layout_of, precise, window_cells
from videopool.pooling.learned import check_flag
from videopool.pooling.weighted import softmax_of_cells, window_average

EPSILON = 1e-3  # of the paper: a detail below it weighs as much as none


class DPPPool(Pool):
    """DPP (Saeedan, Weber, Goesele, Roth, "Detail-Preserving Pooling in Deep Networks", CVPR 2018), symmetric form::

        y = sum_i w_i x_i / sum_i w_i      w_i = alpha + (sqrt((x_i - s)^2 + 0.001^2))^lambda

    ``s`` is the mean of the window: in the lite form of the input; in the full form of the input smoothed by a learned
    filter, 3 cells wide along each axis, one for every channel. ``alpha`` and ``lambda`` are learned for each channel
    as the exponentials of the parameters ``log_alpha`` and ``log_lambda``, as in the authors' code. Both parameters
    start at 0, the middle of the authors' random range, so ``w_i`` starts at ``1 + |x_i - s|``: average pooling of
    small variations, with more weight on cells that stand out. A window of equal cells gives their value for any
    parameters.

    The filter of the full form has the sum 1 by construction: ``f * x = x + sum_q f_q (x_q - x)`` over the neighbors
    q inside the input. It starts at 0, as the lite form. The authors' filter is a convolution with the stride of the
    pooling, zeros for padding and a bias; their code also divides the squared details of a window by their mean, which
    the formula above does not.

    The weights go through a softmax as their logarithms, ``log(alpha + exp(lambda log(hypot(x_i - s, 0.001))))``, so
    that no step overflows for a finite detail. Half precision is computed in float32.

    Args:
        channels: channels C of the input; required.
        full: learn the smoothing filter too.

    Raises:
        InputError: for missing channels.
    """

    method = "dpp"

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
        full: bool = False,
    ) -> None:
        super().__init__(rank, kernel_size, stride, padding, dilation, ceil_mode, channels=channels)
        count = self._required_channels()
        self.log_alpha = nn.Parameter(torch.zeros(count))
        self.log_lambda = nn.Parameter(torch.zeros(count))
        filters = torch.zeros(count, 1, *(3,) * rank)
        self.filter = nn.Parameter(filters) if check_flag(self, "full", full) else None

    @classmethod
    def needs_channels(cls, **arguments: Any) -> bool:
        """Return True: each channel has an exponent and an offset."""
        return True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool ``x`` [B,C,...] to [B,C,...] of the same dtype."""
        batch = precise(x if x.dim() == self.rank + 2 else x.unsqueeze(0))
        y = self._pooled(batch, self.windows_over(x))
        return in_layout_of(y if x.dim() == self.rank + 2 else y.squeeze(0), x).to(x.dtype)

    def _pooled(self, x: torch.Tensor, window: Window) -> torch.Tensor:
        """Pool float32 or float64 [B,C,...]."""
        cells = window_cells(x, window, 0.0)
        logits = self._logits(cells - window_average(self._smoothed(x), window).unsqueeze(-1))
        return softmax_of_cells(cells, logits, x, window)

    def _logits(self, details: torch.Tensor) -> torch.Tensor:
        """Return the logarithms of the weights for details [B,C,*out,K]."""
        shape = (-1, *(1,) * (self.rank + 1))
        log_alpha, log_lambda = (p.to(details.dtype).view(shape) for p in (self.log_alpha, self.log_lambda))
        # ``new_full`` fills on the device; ``new_tensor`` would copy from the host, which makes a GPU wait.
        powers = log_lambda.exp() * torch.hypot(details, details.new_full((), EPSILON)).log()
        return torch.logaddexp(log_alpha, powers)

    def _smoothed(self, x: torch.Tensor) -> torch.Tensor:
        """Return the image [B,C,...] whose window means are ``s``."""
        if self.filter is None:
            return x
        weights, convolve = self.filter.to(x.dtype), CONVOLUTION[self.rank]
        inside = convolve(torch.ones_like(x[:1]), weights, padding=1, groups=x.shape[1])
        return x + convolve(x, weights, padding=1, groups=x.shape[1]) - x * inside

    def own(self) -> str:
        """Return "full" if the filter is learned."""
        return "" if self.filter is None else "full"
