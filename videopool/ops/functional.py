"""The public pooling functions: arguments checked in Python, then the native op, or the reference without one."""

from __future__ import annotations

import sys

import torch

from videopool.ops import native, reference
from videopool.ops.window import IntOrTuple, Window, make_window, output_sizes

_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def soft_pool1d(
    x: torch.Tensor,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    dilation: IntOrTuple = 1,
    ceil_mode: bool = False,
    *,
    beta: float = 1.0,
    detach_weights: bool = False,
) -> torch.Tensor:
    """SoftPool over the last axis of ``x`` [N,C,L] or [C,L]; arguments as for :func:`soft_pool3d`."""
    window = make_window(1, kernel_size, stride, padding, dilation, ceil_mode)
    return _soft_pool(x, window, beta, detach_weights)


def soft_pool2d(
    x: torch.Tensor,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    dilation: IntOrTuple = 1,
    ceil_mode: bool = False,
    *,
    beta: float = 1.0,
    detach_weights: bool = False,
) -> torch.Tensor:
    """SoftPool over the last two axes of ``x`` [N,C,H,W] or [C,H,W]; arguments as for :func:`soft_pool3d`."""
    window = make_window(2, kernel_size, stride, padding, dilation, ceil_mode)
    return _soft_pool(x, window, beta, detach_weights)


def soft_pool3d(
    x: torch.Tensor,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    dilation: IntOrTuple = 1,
    ceil_mode: bool = False,
    *,
    beta: float = 1.0,
    detach_weights: bool = False,
) -> torch.Tensor:
    """SoftPool over the last three axes of ``x``: each window gives ``sum_i softmax(beta * x)_i * x_i``.

    The formula, its gradient, its source and what NaN and infinities give are in :mod:`videopool.ops.reference`.

    Args:
        x: [N,C,D,H,W] or [C,D,H,W], float64, float32, float16 or bfloat16; N may be 0. A channels_last_3d input
            gives a channels_last_3d result, without a copy.
        kernel_size: cells of a window, one int or one for each of D, H, W.
        stride: cells between windows; None means ``kernel_size``.
        padding: cells added at both ends of an axis, at most half of ``kernel_size``. They carry no weight.
        dilation: cells from one cell of a window to its next.
        ceil_mode: also pool the partial window that begins within the input and ends beyond it.
        beta: sharpness, any finite number. 0 is average pooling, large is max pooling, negative leans to the minimum.
        detach_weights: hold the weights constant in the backward pass, as the code of the paper does.

    Returns:
        [N,C,OD,OH,OW] or [C,OD,OH,OW] in the dtype of ``x``; sizes as ``torch.nn.functional.max_pool3d`` gives them.

    Raises:
        TypeError: ``x`` is no floating-point tensor of these dtypes, or an argument is of another type.
        ValueError: a wrong number of axes, a value out of its range, or a window that does not fit.
    """
    window = make_window(3, kernel_size, stride, padding, dilation, ceil_mode)
    return _soft_pool(x, window, beta, detach_weights)


def _soft_pool(x: torch.Tensor, window: Window, beta: float, detach_weights: bool) -> torch.Tensor:
    rank = len(window.kernel_size)
    beta = _check_beta(beta)
    _check_input(x, rank)
    output_sizes(x.shape[-rank:], window)
    batched = x.dim() == rank + 2
    x = x if batched else x.unsqueeze(0)
    for _ in range(3 - rank):
        x = x.unsqueeze(2)
    y = _pool_rank3(x, window.as_rank3(), beta, bool(detach_weights))
    for _ in range(3 - rank):
        y = y.squeeze(2)
    return y if batched else y.squeeze(0)


def _pool_rank3(x: torch.Tensor, window: Window, beta: float, detach_weights: bool) -> torch.Tensor:
    if native.runs_on(x.device):
        return native.soft_pool3d(x, window, beta, detach_weights)
    native.warn_once_about_fallback(x.device)
    return reference.soft_pool3d(x, window, beta, detach_weights)


def _check_beta(beta: float) -> float:
    if isinstance(beta, bool) or not isinstance(beta, (int, float)):
        raise TypeError(f"beta={beta!r} is not a number; give a Python float")
    if not -sys.float_info.max <= beta <= sys.float_info.max:
        raise ValueError(f"beta={beta!r} is not finite; give a finite number, or use max pooling for the limit")
    return float(beta)


def _check_input(x: torch.Tensor, rank: int) -> None:
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"x is a {type(x).__name__}; give a torch.Tensor")
    if x.dtype not in _DTYPES:
        raise TypeError(f"x has dtype {x.dtype}; give float64, float32, float16 or bfloat16, for example x.float()")
    axes = "[N,C,D,H,W] or [C,D,H,W]", "[N,C,H,W] or [C,H,W]", "[N,C,L] or [C,L]"
    if x.dim() not in (rank + 1, rank + 2):
        raise ValueError(f"x has shape {list(x.shape)}; soft_pool{rank}d needs {axes[3 - rank]}")
    if x.shape[-rank - 1] < 1:
        raise ValueError(f"x has shape {list(x.shape)} with no channel; only the batch may be empty")
