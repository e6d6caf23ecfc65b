"""Pooling and its gradients, window by window from the formulas, without code of the package."""

from __future__ import annotations

import functools
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
    return t.detach().cpu().double().numpy().astype(np.longdouble, order="C")


class Group(NamedTuple):
    """The windows that have the same number of cells: positions in flat results [W], and in flat inputs [W,cells]."""

    windows: np.ndarray
    cells: np.ndarray


@functools.lru_cache(64)
def groups(shape: tuple[int, ...], case: Case | Adaptive) -> tuple[list[int], int, list[Group]]:
    """Return the output sizes, the largest number of cells of a window, and all windows that have cells."""
    sizes, each = all_windows(shape, case)
    found: dict[int, list[tuple[int, list[int]]]] = {}
    for place, (_, cells) in enumerate(each):
        flat = [(d * shape[1] + h) * shape[2] + w for d, h, w in cells]
        found.setdefault(len(cells), []).append((place, flat))
    together = [Group(*map(np.array, zip(*found[count], strict=True))) for count in sorted(found) if count]
    return sizes, max(found, default=0), together


def most_cells(shape: Sequence[int], case: Case | Adaptive) -> int:
    """Return the number of cells of the window over [D,H,W] that has most."""
    return groups(tuple(shape), case)[1]


def softmax_pool(
    values: torch.Tensor, logits: torch.Tensor, case: Case, grad: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return y, dvalues and dlogits, float64, for finite inputs [N,C,D,H,W] and windows that all have cells."""
    v, z, upstream = (long_double(t.flatten(2)) for t in (values, logits, grad))  # [N,C,cells or windows]
    sizes, _, together = groups(tuple(values.shape[2:]), case)
    y, dvalues, dlogits = np.zeros_like(upstream), np.zeros_like(v), np.zeros_like(v)
    for windows, cells in together:
        own, logit = v[..., cells], z[..., cells]  # [N,C,W,cells]
        w = np.exp(logit - logit.max(-1, keepdims=True))
        w /= w.sum(-1, keepdims=True)
        mean = (w * own).sum(-1, keepdims=True)
        g = upstream[..., windows, None]
        y[..., windows] = mean[..., 0]
        add(dvalues, cells, g * w)
        add(dlogits, cells, g * w * (own - mean))
    return shaped(y, sizes), shaped(dvalues, values.shape[2:]), shaped(dlogits, values.shape[2:])


def soft_pool(
    x: torch.Tensor, case: Case | Adaptive, beta: float, grad: torch.Tensor | None = None, detach_weights: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return y and dx, float64, for finite ``x`` [N,C,D,H,W]; ``grad`` defaults to ones.

    A window of padding gives -inf (+inf for beta < 0). Works in long double where the platform has it, so that it is
    an oracle for float64 too.
    """
    values = long_double(x.flatten(2))
    sizes, _, together = groups(tuple(x.shape[2:]), case)
    empty = -math.inf if beta >= 0 else math.inf
    y = np.full((*values.shape[:2], math.prod(sizes)), empty, dtype=np.longdouble)
    dx = np.zeros_like(values)
    upstream = np.ones_like(y) if grad is None else long_double(grad.flatten(2))
    for windows, cells in together:
        v = values[..., cells]  # [N,C,W,cells]
        t = v - (v.max(-1, keepdims=True) if beta >= 0 else v.min(-1, keepdims=True))
        w = np.exp(beta * t) / np.exp(beta * t).sum(-1, keepdims=True)
        deviation = t - (w * t).sum(-1, keepdims=True)  # x_i - y without rounding y
        y[..., windows] = (v - deviation)[..., 0]
        add(dx, cells, upstream[..., windows, None] * w * (1 if detach_weights else 1 + beta * deviation))
    return shaped(y, sizes), shaped(dx, x.shape[2:])


def add(total: np.ndarray, cells: np.ndarray, parts: np.ndarray) -> None:
    """Add ``parts`` [N,C,W,cells] at ``cells`` [W,cells] of ``total`` [N,C,all cells]; windows may share cells."""
    for plane, own in zip(total.reshape(-1, total.shape[2]), parts.reshape(-1, cells.size), strict=True):
        np.add.at(plane, cells.ravel(), own)


def shaped(flat: np.ndarray, sizes: Sequence[int]) -> torch.Tensor:
    """Return float64 [N,C,*sizes] of an array [N,C,all]."""
    return torch.from_numpy(flat.astype(np.float64)).unflatten(2, tuple(sizes))


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
