"""The native ops in torch's own ops, for exported forms that run where videopool is not installed.

``table()`` is a decomposition table of ``torch.export.ExportedProgram.run_decompositions``. The formulas and the
results for NaN and infinities are those of :mod:`videopool.ops.reference`, but these functions have no gradient and use
only operators that ONNX has too.

Shape legend: N batch, C channels, D depth (frames), H rows, W columns.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from videopool.ops.reference import make_slope
from videopool.ops.window import Window, output_sizes

Decompositions = dict[Any, Callable[..., Any]]  # from an operator overload to a function of the same arguments


def soft_pool3d(
    x: torch.Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    beta: float,
    detach_weights: bool,
    relu: bool,
) -> torch.Tensor:
    """Return what ``videopool::soft_pool3d`` returns for ``x`` [N,C,D,H,W]: [N,C,OD,OH,OW]."""
    window = Window(tuple(kernel_size), tuple(stride), tuple(padding), tuple(dilation), ceil_mode)

    def pool(z: torch.Tensor, rate: float) -> torch.Tensor:
        if _is_global(z.shape[2:], window):
            return _soft_pool([z], rate, axes=(2, 3, 4))
        return _soft_pool(list(_cells(z, window, -math.inf)), rate)

    return _scaled(pool, x, beta, relu)


def adaptive_soft_pool3d(
    x: torch.Tensor, output_size: Sequence[int], beta: float, detach_weights: bool, relu: bool
) -> torch.Tensor:
    """Return what ``videopool::adaptive_soft_pool3d`` returns for ``x`` [N,C,D,H,W]: [N,C,*output_size]."""

    def pool(z: torch.Tensor, rate: float) -> torch.Tensor:
        spans = [_adaptive_spans(size, out) for size, out in zip(z.shape[2:], output_size, strict=True)]
        pooled = [
            _soft_pool([z[:, :, d, h, w]], rate, axes=(2, 3, 4)).flatten(2) for d, h, w in itertools.product(*spans)
        ]
        return torch.cat(pooled, 2).unflatten(2, tuple(output_size))

    return _scaled(pool, x, beta, relu)


def softmax_pool3d(
    values: torch.Tensor,
    logits: torch.Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> torch.Tensor:
    """Return what ``videopool::softmax_pool3d`` returns for ``values``, ``logits`` [N,C,D,H,W]: [N,C,OD,OH,OW]."""
    window = Window(tuple(kernel_size), tuple(stride), tuple(padding), tuple(dilation), ceil_mode)
    v, z = _accumulated(values), _accumulated(logits)
    if _is_global(z.shape[2:], window):
        y = _softmax_pool([v], [z], axes=(2, 3, 4))
    else:
        y = _softmax_pool(list(_cells(v, window, 0.0)), list(_cells(z, window, -math.inf)))
    return y.to(values.dtype)


def table() -> Decompositions:
    """Return the decompositions of the native ops; empty without the native library, whose fallback is plain torch."""
    forms = (soft_pool3d, adaptive_soft_pool3d, softmax_pool3d)
    ops = torch.ops.videopool
    return {getattr(ops, form.__name__).default: form for form in forms if hasattr(ops, form.__name__)}


def _scaled(
    pool: Callable[[torch.Tensor, float], torch.Tensor], x: torch.Tensor, beta: float, relu: bool
) -> torch.Tensor:
    """Pool ``x`` by ``pool(z, rate)`` in the units of ``make_slope`` and in the accumulation dtype."""
    z = _accumulated(torch.relu(x) if relu else x)
    slope = make_slope(beta, z.dtype)
    y = pool(z if slope.scale == 1 else z * slope.scale, slope.rate)
    return (y if slope.scale == 1 else y / slope.scale).to(x.dtype)


def _accumulated(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _soft_pool(cells: list[torch.Tensor], rate: float, axes: tuple[int, ...] = ()) -> torch.Tensor:
    """Pool over the tensors of ``cells``, and over ``axes`` of each, by the softmax of ``rate`` times the cells."""
    limit = torch.finfo(cells[0].dtype).max
    top = _largest(cells, axes)
    weights, weighted = [], []
    for cell in cells:
        below = (cell - top).clamp(min=-limit)  # finite, so that a weight of 0 times it is 0
        weight = torch.exp(below if rate == 1 else below * rate)
        weights.append(weight)
        weighted.append(weight * below)
    y = top + _total(weighted, axes) / _total(weights, axes)
    return torch.where(top.abs() <= limit, y, top)


def _softmax_pool(values: list[torch.Tensor], logits: list[torch.Tensor], axes: tuple[int, ...] = ()) -> torch.Tensor:
    """Pool over the tensors of ``values``, and over ``axes`` of each, by the softmax of ``logits``."""
    top = _largest(logits, axes)
    weights = [torch.exp(cell - top) for cell in logits]
    weighted = [  # a logit of -inf excludes a cell, also if its value is not finite
        weight * torch.where(logit == -math.inf, 0.0, value)
        for weight, logit, value in zip(weights, logits, values, strict=True)
    ]
    return _total(weighted, axes) / _total(weights, axes)


def _largest(cells: list[torch.Tensor], axes: tuple[int, ...]) -> torch.Tensor:
    top = cells[0]
    for cell in cells[1:]:
        top = torch.maximum(top, cell)
    return top.amax(axes, keepdim=True) if axes else top


def _total(cells: list[torch.Tensor], axes: tuple[int, ...]) -> torch.Tensor:
    total = cells[0]
    for cell in cells[1:]:
        total = total + cell
    return total.sum(axes, keepdim=True) if axes else total


def _is_global(sizes: Sequence[int], window: Window) -> bool:
    """Return whether the one window is the whole extent."""
    kernel, _, padding, dilation, _ = window
    fixed = all(isinstance(size, int) for size in sizes)
    return fixed and tuple(sizes) == kernel and not any(padding) and max(dilation) == 1


def _cells(z: torch.Tensor, window: Window, fill: float) -> Iterator[torch.Tensor]:
    """Yield the first cell of every window, then the second and so on, each [N,C,OD,OH,OW]; padding is ``fill``."""
    kernel, stride, padding, dilation, _ = window
    counts = output_sizes(z.shape[2:], window)
    ends = [
        # for any size, always enough: a comparison of symbols would restrict the program to some sizes
        max((count - 1) * s + (k - 1) * d + 1 - p - size, 0) if isinstance(size, int) else (k - 1) * d + s
        for size, count, k, s, p, d in zip(z.shape[2:], counts, kernel, stride, padding, dilation, strict=True)
    ]
    if any(padding) or any(ends):
        pairs = zip(padding[::-1], ends[::-1], strict=True)
        z = F.pad(z, [amount for pair in pairs for amount in pair], value=fill)
    for tap in itertools.product(*map(range, kernel)):
        cut: list[slice] = [slice(None), slice(None)]
        for offset, d, s, count in zip(tap, dilation, stride, counts, strict=True):
            start = offset * d
            cut.append(slice(start, start + (count - 1) * s + 1, s))
        yield z[tuple(cut)]


def _adaptive_spans(size: int, out: int) -> list[slice]:
    """Return the windows of torch's adaptive pooling along an axis."""
    return [slice(o * size // out, -(-(o + 1) * size // out)) for o in range(out)]
