"""Gather the cells of windows, for methods whose weights depend on the whole window.

Shape legend: B batch, C channels, K cells of a window (the product of the kernel), ``*out`` windows along each axis.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from videopool.errors import InputError
from videopool.ops.window import Window, output_sizes

CONVOLUTION: dict[int, Callable[..., torch.Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def window_counts(x: torch.Tensor, window: Window) -> tuple[int, ...]:
    """Return the number of windows along each pooled axis of ``x`` ([B,C,...] or [C,...]), as torch's max_pool does.

    Raises:
        InputError: if ``x`` has another number of axes.
        ValueError: if a window does not fit.
    """
    rank = len(window.kernel_size)
    if x.dim() not in (rank + 1, rank + 2):
        raise InputError(
            f"An input of shape {list(x.shape)} does not fit a rank-{rank} pool. Give {rank + 2} axes "
            f"(batch, channels, {rank} pooled), or {rank + 1} without the batch."
        )
    return output_sizes(x.shape[-rank:], window)


def padded(x: torch.Tensor, window: Window, fill: float) -> torch.Tensor:
    """Return ``x`` [B,C,...] padded with ``fill`` (also for ``ceil_mode``) and cut after the last window.

    Unpadded windows with the same stride, kernel and dilation then give ``window_counts(x, window)`` results.
    """
    counts = window_counts(x, window)
    pads: list[int] = []
    sizes = x.shape[-len(counts) :]
    for axis, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        before = window.padding[axis]
        extent = (window.kernel_size[axis] - 1) * window.dilation[axis] + 1
        end = (count - 1) * window.stride[axis] + extent
        pads = [before, end - before - size, *pads]
    return functional.pad(x, pads, value=fill) if any(pads) else x


def window_cells(x: torch.Tensor, window: Window, fill: float) -> torch.Tensor:
    """Return the cells of every window of ``x`` [B,C,...] -> [B,C,*out,K], differentiable.

    The last axis runs through the kernel in row-major order. Padded cells, and those that ``ceil_mode`` adds, are
    ``fill``. The result is K / (product of the strides) times as large as ``x``.

    Raises:
        InputError: if ``x`` has another number of axes.
        ValueError: if a window does not fit.
    """
    rank = len(window.kernel_size)
    x = padded(x, window, fill)
    first = x.dim() - rank
    for axis in range(rank):
        x = _cut(x, first + axis, window.kernel_size[axis], window.stride[axis], window.dilation[axis])
    return x.flatten(-rank)


def real_cells(x: torch.Tensor, window: Window) -> torch.Tensor:
    """Return which cells of every window lie inside ``x`` -> bool [*out,K], on the device of ``x``."""
    counts = window_counts(x, window)
    inside = torch.ones((), dtype=torch.bool, device=x.device)
    for axis, (size, count) in enumerate(zip(x.shape[-len(counts) :], counts, strict=True)):
        starts = torch.arange(count, device=x.device) * window.stride[axis] - window.padding[axis]
        taps = torch.arange(window.kernel_size[axis], device=x.device) * window.dilation[axis]
        cells = starts[:, None] + taps
        along = (cells >= 0) & (cells < size)
        # [*out so far, *taps so far]: this axis goes after the outs and after the taps.
        inside = inside.unsqueeze(axis).unsqueeze(-1)
        inside = inside & along.view(-1, *(1,) * axis, along.shape[1])
    return inside.flatten(-len(counts))


def precise(x: torch.Tensor) -> torch.Tensor:
    """Return half precision as float32, other dtypes unchanged."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def in_layout_of(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return ``y`` contiguous or channels_last as ``x`` is, for methods whose arithmetic loses the layout."""
    if x.is_contiguous():
        return y.contiguous()
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    if layout is None or not x.is_contiguous(memory_format=layout):
        return y
    return y.contiguous(memory_format=layout)


def _cut(x: torch.Tensor, axis: int, kernel: int, stride: int, dilation: int) -> torch.Tensor:
    """Cut ``axis`` into windows, whose cells become a new last axis."""
    if kernel == stride and dilation == 1:  # a view, and so is its backward
        return x.unflatten(axis, (-1, kernel)).movedim(axis + 1, -1)
    return x.unfold(axis, (kernel - 1) * dilation + 1, stride)[..., ::dilation]
