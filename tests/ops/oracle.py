"""Pooling and its gradients, window by window from the formulas, without code of the package."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch


class Case(NamedTuple):
    """One window over [D,H,W]."""

    kernel_size: tuple[int, int, int]
    stride: tuple[int, int, int]
    padding: tuple[int, int, int] = (0, 0, 0)
    dilation: tuple[int, int, int] = (1, 1, 1)
    ceil_mode: bool = False


CASES = {
    "2x2x2": Case((2, 2, 2), (2, 2, 2)),
    "1x3x3 s122 p011": Case((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    "3x3x3 s2 p1 ceil": Case((3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1), True),
    "3x3x3 s1 p1": Case((3, 3, 3), (1, 1, 1), (1, 1, 1)),
    "gaps between windows": Case((2, 1, 2), (3, 2, 5)),
    "non-cubic dilated": Case((2, 3, 2), (1, 2, 3), (1, 1, 1), (2, 1, 3), True),
    "stride and dilation share a factor": Case((2, 3, 4), (3, 4, 6), (1, 1, 2), (2, 3, 4), True),
    "dilation beyond stride": Case((1, 2, 3), (1, 2, 2), (0, 1, 1), (1, 4, 4)),
    "whole input": Case((6, 9, 11), (1, 1, 1)),
    "one cell": Case((1, 1, 1), (1, 1, 1)),
    "stride beyond input": Case((2, 2, 2), (100, 100, 100)),
}


def output_size(size: int, k: int, s: int, p: int, d: int, ceil_mode: bool) -> int:
    """Count the windows: each ends within the padded axis or, with ceil_mode, starts before its end padding."""
    count = 0
    while True:
        start = count * s - p
        end = start + (k - 1) * d  # last cell
        fits = end < size + p
        partial = ceil_mode and start < size and end < size + p + s - 1
        if not (fits or partial):
            return count
        count += 1


def windows(shape: Sequence[int], case: Case) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """Return every output position with the list of its cells, over the axes [D,H,W]."""
    axes = list(zip(shape, *case[:4], strict=True))
    sizes = [output_size(*axis, case.ceil_mode) for axis in axes]
    for out in np.ndindex(*sizes):
        inside = []
        for o, (size, k, s, p, d) in zip(out, axes, strict=True):
            cells = [o * s - p + tap * d for tap in range(k)]
            inside.append([cell for cell in cells if 0 <= cell < size])
        yield out, [(a, b, c) for a in inside[0] for b in inside[1] for c in inside[2]]


class Adaptive(NamedTuple):
    """The windows of adaptive pooling over [D,H,W]."""

    output_size: tuple[int, int, int]


def adaptive_windows(
    shape: Sequence[int], output_size: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """Return the windows by the definition of torch's documentation: floor(o n / m) to before ceil((o + 1) n / m)."""
    for out in np.ndindex(*output_size):
        bounds = [
            (math.floor(o * n / m), math.ceil((o + 1) * n / m)) for o, n, m in zip(out, shape, output_size, strict=True)
        ]
        yield out, [(a, b, c) for a in range(*bounds[0]) for b in range(*bounds[1]) for c in range(*bounds[2])]


def all_windows(
    shape: Sequence[int], case: Case | Adaptive
) -> tuple[list[int], Iterator[tuple[tuple[int, ...], list[tuple[int, ...]]]]]:
    """Return the output sizes and every window."""
    if isinstance(case, Adaptive):
        return list(case.output_size), adaptive_windows(shape, case.output_size)
    sizes = [output_size(*axis, case.ceil_mode) for axis in zip(shape, *case[:4], strict=True)]
    return sizes, windows(shape, case)


def long_double(t: torch.Tensor) -> np.ndarray:
    return t.detach().cpu().double().numpy().astype(np.longdouble)


def softmax_pool(
    values: torch.Tensor, logits: torch.Tensor, case: Case, grad: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return y, dvalues and dlogits, float64, for finite inputs [N,C,D,H,W] and windows that all have cells."""
    v, z, upstream = long_double(values), long_double(logits), long_double(grad)
    sizes, each = all_windows(values.shape[2:], case)
    y = np.zeros((*values.shape[:2], *sizes), dtype=np.longdouble)
    dvalues, dlogits = np.zeros_like(v), np.zeros_like(v)
    for out, cells in each:
        where = (..., *(np.array(axis) for axis in zip(*cells, strict=True)))
        w = np.exp(z[where] - z[where].max(-1, keepdims=True))
        w /= w.sum(-1, keepdims=True)
        mean = (w * v[where]).sum(-1, keepdims=True)
        g = upstream[(..., *out)][..., None]
        y[(..., *out)] = mean[..., 0]
        dvalues[where] += g * w
        dlogits[where] += g * w * (v[where] - mean)
    return tuple(torch.from_numpy(t.astype(np.float64)) for t in (y, dvalues, dlogits))


def soft_pool(
    x: torch.Tensor, case: Case | Adaptive, beta: float, grad: torch.Tensor | None = None, detach_weights: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return y and dx, float64, for finite ``x`` [N,C,D,H,W]; ``grad`` defaults to ones.

    A window of padding gives -inf (+inf for beta < 0). Works in long double where the platform has it, so that it is
    an oracle for float64 too.
    """
    values = long_double(x)
    sizes, each = all_windows(x.shape[2:], case)
    y = np.full((*x.shape[:2], *sizes), -math.inf if beta >= 0 else math.inf, dtype=np.longdouble)
    dx = np.zeros_like(values)
    upstream = np.ones_like(y) if grad is None else long_double(grad)
    for out, cells in each:
        g = upstream[(..., *out)][..., None]
        if not cells:
            continue
        where = (..., *(np.array(axis) for axis in zip(*cells, strict=True)))
        v = values[where]  # [N,C,cells]
        t = v - (v.max(-1, keepdims=True) if beta >= 0 else v.min(-1, keepdims=True))
        w = np.exp(beta * t) / np.exp(beta * t).sum(-1, keepdims=True)
        deviation = t - (w * t).sum(-1, keepdims=True)  # x_i - y without rounding y
        y[(..., *out)] = (v - deviation)[..., 0]
        dx[where] += g * w * (1 if detach_weights else 1 + beta * deviation)
    return torch.from_numpy(y.astype(np.float64)), torch.from_numpy(dx.astype(np.float64))


def cells_per_window(case: Case) -> int:
    """Return the largest number of cells of a window."""
    return math.prod(case.kernel_size)


def tolerance(dtype: torch.dtype, cells: int, spread: float, beta: float = 1.0) -> tuple[float, float]:
    """Return (rtol, atol) for results of ``dtype`` over windows of ``cells`` values that spread over ``spread``.

    Sums of n terms, each at most ``spread`` in size, are off by at most n roundings of the accumulation dtype, and an
    exponent of size ``beta * spread`` carries its own rounding into a weight; the result is rounded once to ``dtype``.
    """
    wide = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps
    own = 0.0 if torch.finfo(dtype).eps == wide else torch.finfo(dtype).eps / 2
    sums = (cells + 8) * wide * (1 + spread) * (1 + abs(beta) * spread) / 2
    return own + 4 * wide, sums + (6e-8 if dtype == torch.float16 else 0.0)
