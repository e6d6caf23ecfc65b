"""The anti-aliasing baseline: a fixed low-pass filter before subsampling."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import torch

from videopool.pooling.base import Pool, Sizes
from videopool.pooling.cells import precise, real_cells, window_counts
from videopool.pooling.classic import weighted_sum


class BlurPool(Pool):
    """A fixed binomial low-pass, then subsampling by the stride (Zhang, "Making Convolutional Networks Shift-Invariant
    Again", ICML 2019).

    The taps along an axis are the binomial coefficients of the kernel's length (1; 1 1; 1 2 1; 1 3 3 1; ...), divided
    by the sum over the real cells of the window, so that a constant stays constant at the border; the paper reflects
    the input there. This is the anti-aliased average; the paper's MaxBlurPool is a maximum of stride 1 followed by it.
    For kernels of 1 and 2 it equals the average.
    """

    method = "blur"
    taps: torch.Tensor | None

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
        # ``torch.empty(0)`` has the default dtype and device.
        taps = None if self.kernel_size is None else _binomial(self.kernel_size).to(torch.empty(0))
        self.register_buffer("taps", taps, persistent=False)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> BlurPool:
        """Move or cast the layer and compute the taps again, since ``to_empty`` and half precision lose them."""
        super()._apply(fn, recurse)
        if self.kernel_size is not None and self.taps is not None:
            self.taps = _binomial(self.kernel_size).to(self.taps)
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool ``x`` [B,C,...] to [B,C,...] of the same dtype."""
        window = self.windows_over(x)
        window_counts(x, window)
        if self.taps is None:
            return _blur_all(x, self.rank)
        taps = self.taps.to(x.dtype)
        # The meta device has no autocast.
        with contextlib.nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
            y = weighted_sum(x, taps, window)
        if not any(window.padding) and not window.ceil_mode:
            return y
        share = (real_cells(x, window) * taps.flatten()).sum(-1)
        return y / torch.where(share > 0, share, 1)


def _binomial(kernel: tuple[int, ...]) -> torch.Tensor:
    """Return the binomial low-pass [*kernel] with sum 1."""
    taps = torch.ones((), dtype=torch.float64, device="cpu")
    for length in kernel:
        row = [math.comb(length - 1, index) / 2 ** (length - 1) for index in range(length)]
        taps = taps[..., None] * torch.tensor(row, dtype=torch.float64, device="cpu")
    return taps


def _blur_all(x: torch.Tensor, rank: int) -> torch.Tensor:
    """Pool the last ``rank`` axes of ``x`` to one cell by binomial weights, one axis at a time."""
    y = precise(x)
    for axis in range(x.dim() - rank, x.dim()):
        # Computed on the device, by logarithms: copying a table from the host would make a GPU wait.
        last = y.shape[axis] - 1
        index = torch.arange(last + 1, dtype=y.dtype, device=y.device)
        logarithms = -torch.lgamma(index + 1) - torch.lgamma(last - index + 1)
        row = torch.softmax(logarithms, 0).view(-1, *(1,) * (x.dim() - 1 - axis))
        y = (y * row).sum(axis, keepdim=True)
    return y.to(x.dtype)
