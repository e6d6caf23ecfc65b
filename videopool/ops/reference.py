"""SoftPool in plain torch: the definition, the reference of the tests, and the fallback without native libraries.

For the cells x_1 .. x_n of a window (Stergiou, Poppe, Kalliatakis, "Refining activation downsampling with
SoftPool", ICCV 2021, section 3; ``beta`` is 1 there)::

    w_i = exp(beta * x_i) / sum_j exp(beta * x_j)        y = sum_i w_i * x_i

    exact gradient                 dy/dx_i = w_i * (1 + beta * (x_i - y))
    weights held constant          dy/dx_i = w_i                              (the gradient of the paper's code)

Padding has no weight, as in max pooling. ``beta = 0`` gives the average of the cells, ``beta -> +inf`` their maximum,
``beta -> -inf`` their minimum.

Numbers. Exponents are shifted by the window's maximum, so the result is right for every finite input. float16 and
bfloat16 are computed in float32. ``beta`` is used in the precision of the computation, and clipped to its range.

Inputs that are not finite, for ``beta >= 0`` (for ``beta < 0`` the same holds with the signs of x and y reversed):

1. a NaN in the window gives NaN;
2. otherwise a +inf in the window gives +inf;
3. otherwise -inf cells have weight 0 and gradient 0, and the other cells are pooled without them;
4. a window without other cells (only -inf, or only padding, which dilation allows) gives -inf.

A window whose result is not finite gives the gradient NaN to every cell that it covers.

The general op pools values v by separate logits l (the form of LIP, Gao et al., ICCV 2019, section 3)::

    w_i = exp(l_i) / sum_j exp(l_j)        y = sum_i w_i * v_i        dy/dv_i = w_i        dy/dl_i = w_i * (v_i - y)

A logit of -inf excludes its cell, regardless of its value. Otherwise a value that is not finite makes the result not
finite, also if its weight underflows to 0 (0 times infinity is NaN). A logit of NaN or +inf, and a window without any
cell, give NaN. As above, a window whose result is not finite gives the gradient NaN.

Adaptive pooling has the windows of torch: along an axis of n cells and m results, window o covers the cells from
floor(o * n / m) up to, not including, ceil((o + 1) * n / m).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from videopool.ops.window import Window, output_sizes


class Slope(NamedTuple):
    """A form of ``beta`` that is safe in one accumulation dtype: pool ``z = x * scale`` with weights ``exp(rate * z)``.

    The sign of ``scale`` is that of beta. For a beta near 0 its size, a power of two, keeps differences and sums of
    huge inputs from overflowing without rounding; ``rate`` has a lower bound that changes no finite result and still
    gives -inf cells the weight 0.
    """

    scale: float
    rate: float


_NEAR_ZERO = {torch.float32: (1e-30, 40), torch.float64: (1e-290, 100)}


def make_slope(beta: float, dtype: torch.dtype) -> Slope:
    """Return the slope for ``beta`` in the accumulation dtype (float32 or float64), as csrc/soft_pool.h does."""
    limit = torch.finfo(dtype).max
    bound, exponent = _NEAR_ZERO[dtype]
    sign = -1.0 if beta < 0 else 1.0
    size = abs(beta)
    if size >= bound:
        return Slope(sign, min(size, limit))
    return Slope(sign * 2.0**-exponent, max(size * 2.0**exponent, 1000.0 / limit))


def soft_pool3d(x: torch.Tensor, window: Window, beta: float, detach_weights: bool, relu: bool = False) -> torch.Tensor:
    """Return SoftPool of ``x`` [N,C,D,H,W], or of ``relu(x)``, over a checked rank-3 ``window`` -> [N,C,OD,OH,OW].

    Differentiable by autograd to any order, on every device.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    slope = make_slope(beta, dtype)
    z = _window_cells((torch.relu(x) if relu else x).to(dtype) * slope.scale, window)
    return _finish(z, slope, beta, detach_weights).to(x.dtype)


def adaptive_soft_pool3d(
    x: torch.Tensor, output_size: Sequence[int], beta: float, detach_weights: bool, relu: bool = False
) -> torch.Tensor:
    """Return SoftPool of ``x`` [N,C,D,H,W] -> [N,C,*output_size] over the windows of adaptive pooling."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    slope = make_slope(beta, dtype)
    z = _adaptive_cells((torch.relu(x) if relu else x).to(dtype) * slope.scale, output_size)
    return _finish(z, slope, beta, detach_weights).to(x.dtype)


def softmax_pool3d(values: torch.Tensor, logits: torch.Tensor, window: Window) -> torch.Tensor:
    """Pool ``values`` [N,C,D,H,W] with the softmax of ``logits`` over each window -> [N,C,OD,OH,OW]."""
    dtype = torch.float64 if values.dtype == torch.float64 else torch.float32
    cells, weights = _window_cells(values.to(dtype), window), _window_cells(logits.to(dtype), window)
    absent = weights == -math.inf
    top = weights.detach().amax(0)
    # Finite replacements, so that autograd does not multiply 0 by non-finite numbers.
    e = torch.where(absent, 0.0, torch.exp(torch.where(absent, 0.0, weights - top)))
    y = (e * torch.where(absent, 0.0, cells)).sum(0) / e.sum(0)
    finite = torch.isfinite(y)
    broken = _nan_gradient(cells, finite) + _nan_gradient(weights, finite)
    return (torch.where(finite, y, y.detach()) + broken).to(values.dtype)


def _finish(z: torch.Tensor, slope: Slope, beta: float, detach_weights: bool) -> torch.Tensor:
    """Pool the scaled cells ``z`` [n,...] and return the result in units of x."""
    # At beta = 0 the weights are constant; through autograd, products could overflow.
    return _pool_cells(z, slope.rate, detach_weights or beta == 0) / slope.scale


def _adaptive_cells(z: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """Return the cells of every window of adaptive pooling, [n,N,C,*sizes]; -inf fills windows with fewer cells."""
    for axis, out in enumerate(sizes):
        size = z.shape[axis - 3]
        windows = [range(o * size // out, -(-(o + 1) * size // out)) for o in range(out)]
        most = max(len(window) for window in windows)
        # An index of `size` reads the -inf after the last cell.
        taps = [[window[tap] if tap < len(window) else size for window in windows] for tap in range(most)]
        fill = [0, 0] * (2 - axis) + [0, 1]
        padded = F.pad(z, fill, value=-math.inf)
        index = torch.tensor(taps, device=z.device).flatten()
        z = padded.index_select(axis - 3, index).unflatten(axis - 3, (most, out)).movedim(axis - 4, 0)
    return z.flatten(0, 2)


def _window_cells(z: torch.Tensor, window: Window) -> torch.Tensor:
    """Return the cells of every window, [n,N,C,OD,OH,OW] with n cells for each window and -inf for padding."""
    kernel, stride, padding, dilation, _ = window
    outputs = output_sizes(z.shape[2:], window)
    fill = []
    for size, k, s, p, d, out in zip(z.shape[2:], kernel, stride, padding, dilation, outputs, strict=True):
        fill.append((p, max((out - 1) * s + (k - 1) * d + 1 - p - size, 0)))
    z = F.pad(z, [count for pair in reversed(fill) for count in pair], value=-math.inf)
    for axis in range(3):
        span = (outputs[axis] - 1) * stride[axis] + 1
        starts = [tap * dilation[axis] for tap in range(kernel[axis])]
        # Taps are stacked in the first axes; axes that are not yet cut keep their positions from the end.
        taps = [z.narrow(axis - 3, start, span) for start in starts]
        index: tuple[Any, ...] = (..., slice(None, None, stride[axis]), *[slice(None)] * (2 - axis))
        z = torch.stack([tap[index] for tap in taps])
    return z.flatten(0, 2)


def _pool_cells(z: torch.Tensor, rate: float, detach_weights: bool) -> torch.Tensor:
    """Pool the cells ``z`` [n,...] along the first axis by the rules of the module's docstring for beta >= 0."""
    limit = torch.finfo(z.dtype).max
    top = z.detach().amax(0)  # in amax a NaN wins over +inf
    shift = top.clamp(-limit, limit)
    live = torch.exp(rate * (z.detach() - shift)) > 0
    t = torch.where(live, z - shift, 0.0)
    e = torch.exp(rate * t) * live
    weights = e / e.sum(0).clamp(min=torch.finfo(z.dtype).tiny)
    if detach_weights:
        weights = weights.detach()
    y = shift + (weights * t).sum(0)
    finite = torch.isfinite(top)
    return torch.where(finite, y, top) + _nan_gradient(z, finite)


def _nan_gradient(z: torch.Tensor, finite: torch.Tensor) -> torch.Tensor:
    """Return zeros [...] that give the cells ``z`` [n,...] the gradient NaN where ``finite`` [...] is False.

    The backward pass of nan_to_num multiplies by 0 where it replaced a value, and 0 * NaN is NaN.
    """
    cells = torch.nan_to_num(z, nan=0.0, posinf=0.0, neginf=0.0)
    return torch.nan_to_num(cells * torch.where(finite, 0.0, math.nan), nan=0.0).sum(0)
