"""The public pooling functions. They check arguments and call the native op, or the reference if there is none."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch

from videopool.ops import native, reference
from videopool.ops.window import IntOrTuple, Window, adaptive_sizes, make_window, output_sizes

_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def soft_pool1d(
    x: torch.Tensor,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    dilation: IntOrTuple = 1,
    ceil_mode: bool = False,
    *,
    beta: float | torch.Tensor = 1.0,
    detach_weights: bool = False,
    relu: bool = False,
) -> torch.Tensor:
    """Return SoftPool over the last axis of ``x`` [N,C,L] or [C,L]; arguments as for :func:`soft_pool3d`."""
    window = make_window(1, kernel_size, stride, padding, dilation, ceil_mode)
    return _soft_pool(x, window, beta, detach_weights, relu)


def soft_pool2d(
    x: torch.Tensor,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    dilation: IntOrTuple = 1,
    ceil_mode: bool = False,
    *,
    beta: float | torch.Tensor = 1.0,
    detach_weights: bool = False,
    relu: bool = False,
) -> torch.Tensor:
    """Return SoftPool over the last two axes of ``x`` [N,C,H,W] or [C,H,W]; arguments as for :func:`soft_pool3d`."""
    window = make_window(2, kernel_size, stride, padding, dilation, ceil_mode)
    return _soft_pool(x, window, beta, detach_weights, relu)


def soft_pool3d(
    x: torch.Tensor,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    dilation: IntOrTuple = 1,
    ceil_mode: bool = False,
    *,
    beta: float | torch.Tensor = 1.0,
    detach_weights: bool = False,
    relu: bool = False,
) -> torch.Tensor:
    """Return SoftPool over the last three axes of ``x``: ``sum_i softmax(beta * x)_i * x_i`` of each window.

    :mod:`videopool.ops.reference` has the formula, its gradient and source, and the results for NaN and infinities.

    Args:
        x: [N,C,D,H,W] or [C,D,H,W], float64, float32, float16 or bfloat16; N may be 0. A channels_last_3d input
            gives a channels_last_3d result, without a copy.
        kernel_size: cells of a window, one int or one for each of D, H, W.
        stride: cells between windows; None means ``kernel_size``.
        padding: cells added at both ends of an axis, at most half of ``kernel_size``. They have no weight.
        dilation: cells from one cell of a window to the next.
        ceil_mode: also pool a partial window that starts within the input and ends beyond it.
        beta: sharpness. 0 gives average pooling, a large number max pooling, a negative one tends to the minimum. Any
            finite number; or a tensor [] or [C] on the device of ``x``, for a learned sharpness of all channels or of
            each.
        detach_weights: hold the weights constant in the backward pass, as the code of the paper does.
        relu: pool ``relu(x)``, in one pass over the memory if the kernel can.

    Returns:
        [N,C,OD,OH,OW] or [C,OD,OH,OW] in the dtype of ``x``; sizes as ``torch.nn.functional.max_pool3d`` gives them.

    Raises:
        TypeError: for ``x`` of another type or dtype, and for arguments of another type.
        ValueError: for a wrong number of axes, a value out of range, and a window that does not fit.
    """
    window = make_window(3, kernel_size, stride, padding, dilation, ceil_mode)
    return _soft_pool(x, window, beta, detach_weights, relu)


def adaptive_soft_pool1d(
    x: torch.Tensor, output_size: int | Sequence[int | None] | None, *, beta: float = 1.0, detach_weights: bool = False
) -> torch.Tensor:
    """Return SoftPool over the last axis of ``x`` [N,C,L] or [C,L]; see :func:`adaptive_soft_pool3d`."""
    return _adaptive_soft_pool(1, x, output_size, beta, detach_weights)


def adaptive_soft_pool2d(
    x: torch.Tensor, output_size: int | Sequence[int | None] | None, *, beta: float = 1.0, detach_weights: bool = False
) -> torch.Tensor:
    """Return SoftPool over the last two axes of ``x`` [N,C,H,W] or [C,H,W]; see :func:`adaptive_soft_pool3d`."""
    return _adaptive_soft_pool(2, x, output_size, beta, detach_weights)


def adaptive_soft_pool3d(
    x: torch.Tensor, output_size: int | Sequence[int | None] | None, *, beta: float = 1.0, detach_weights: bool = False
) -> torch.Tensor:
    """Return SoftPool over the windows of torch's ``adaptive_avg_pool3d``.

    Args:
        x: [N,C,D,H,W] or [C,D,H,W], as for :func:`soft_pool3d`.
        output_size: number of results along D, H, W: one int for all, or three. None keeps the size of an axis.
        beta, detach_weights: as for :func:`soft_pool3d`; beta must be a number.

    Returns:
        [N,C,*output_size] or [C,*output_size] in the dtype of ``x``.

    Raises:
        TypeError, ValueError: as :func:`soft_pool3d` does.
    """
    return _adaptive_soft_pool(3, x, output_size, beta, detach_weights)


def softmax_pool1d(
    values: torch.Tensor,
    logits: torch.Tensor,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    dilation: IntOrTuple = 1,
    ceil_mode: bool = False,
) -> torch.Tensor:
    """Return softmax-weighted pooling over the last axis of [N,C,L] or [C,L]; see :func:`softmax_pool3d`."""
    window = make_window(1, kernel_size, stride, padding, dilation, ceil_mode)
    return _softmax_pool(values, logits, window)


def softmax_pool2d(
    values: torch.Tensor,
    logits: torch.Tensor,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    dilation: IntOrTuple = 1,
    ceil_mode: bool = False,
) -> torch.Tensor:
    """Return softmax-weighted pooling over the last two axes of [N,C,H,W] or [C,H,W]; see :func:`softmax_pool3d`."""
    window = make_window(2, kernel_size, stride, padding, dilation, ceil_mode)
    return _softmax_pool(values, logits, window)


def softmax_pool3d(
    values: torch.Tensor,
    logits: torch.Tensor,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None = None,
    padding: IntOrTuple = 0,
    dilation: IntOrTuple = 1,
    ceil_mode: bool = False,
) -> torch.Tensor:
    """Return ``sum_i softmax(logits)_i * values_i`` of each window: pooling with weights from separate logits.

    This is the general form of local importance pooling (Gao et al., "LIP: Local Importance-based Pooling", ICCV 2019);
    ``soft_pool3d(x)`` is ``softmax_pool3d(x, x)``. A logit of -inf excludes its cell. :mod:`videopool.ops.reference`
    has the formula, its gradients, and the results for NaN and infinities.

    Args:
        values: [N,C,D,H,W] or [C,D,H,W], float64, float32, float16 or bfloat16.
        logits: of the same shape, or one that broadcasts to it, such as [N,1,D,H,W] for one weight for all channels.
            If its dtype differs, both are converted to the dtype that torch promotes them to.
        kernel_size, stride, padding, dilation, ceil_mode: the window, as for :func:`soft_pool3d`.

    Returns:
        [N,C,OD,OH,OW] or [C,OD,OH,OW] in the (promoted) dtype of the inputs.

    Raises:
        TypeError, ValueError: as :func:`soft_pool3d` does, and for logits that do not broadcast to the values.
    """
    window = make_window(3, kernel_size, stride, padding, dilation, ceil_mode)
    return _softmax_pool(values, logits, window)


def _soft_pool(
    x: torch.Tensor, window: Window, beta: float | torch.Tensor, detach_weights: bool, relu: bool
) -> torch.Tensor:
    rank = len(window.kernel_size)
    check_beta(beta)
    _check_input("x", x, rank)
    output_sizes(x.shape[-rank:], window)
    if isinstance(beta, torch.Tensor):
        x = torch.relu(x) if relu else x
        logits = x * _spread_beta(beta, x, rank)
        return _softmax_pool(x, logits.detach() if detach_weights else logits, window)
    rank3 = window.as_rank3()
    form = native if _is_native(x.device) else reference
    return _restore(form.soft_pool3d(_as_rank3(x, rank), rank3, float(beta), bool(detach_weights), bool(relu)), x, rank)


def _adaptive_soft_pool(
    rank: int, x: torch.Tensor, output_size: int | Sequence[int | None] | None, beta: float, detach_weights: bool
) -> torch.Tensor:
    check_beta(beta)
    if isinstance(beta, torch.Tensor):
        raise TypeError("beta is a tensor, but adaptive pooling takes a number")
    _check_input("x", x, rank)
    sizes = adaptive_sizes(x.shape[-rank:], output_size)
    form = native if _is_native(x.device) else reference
    rank3 = (1,) * (3 - rank) + sizes
    return _restore(
        form.adaptive_soft_pool3d(_as_rank3(x, rank), rank3, float(beta), bool(detach_weights), False), x, rank
    )


def _softmax_pool(values: torch.Tensor, logits: torch.Tensor, window: Window) -> torch.Tensor:
    rank = len(window.kernel_size)
    _check_input("values", values, rank)
    _check_tensor("logits", logits)
    if values.device != logits.device:
        raise ValueError(f"values are on {values.device} and logits on {logits.device}. Move them to one device.")
    output_sizes(values.shape[-rank:], window)
    try:
        spread = logits.expand(values.shape)
    except RuntimeError as error:
        raise ValueError(
            f"logits of shape {list(logits.shape)} do not broadcast to values of shape {list(values.shape)}"
        ) from error
    dtype = torch.promote_types(values.dtype, logits.dtype)
    form = native if _is_native(values.device) else reference
    cells, weights = (_as_rank3(t.to(dtype), rank) for t in (values, spread))
    return _restore(form.softmax_pool3d(cells, weights, window.as_rank3()), values, rank)


def _is_native(device: torch.device) -> bool:
    if not native.runs_on(device):
        native.warn_once_about_fallback(device)
        return False
    return True


def _as_rank3(x: torch.Tensor, rank: int) -> torch.Tensor:
    """Return ``x`` as [N,C,D,H,W] with one cell along the axes that are not pooled."""
    x = x if x.dim() == rank + 2 else x.unsqueeze(0)
    for _ in range(3 - rank):
        x = x.unsqueeze(2)
    return x


def _restore(y: torch.Tensor, x: torch.Tensor, rank: int) -> torch.Tensor:
    """Return ``y`` [N,C,OD,OH,OW] with the axes of the input ``x``."""
    for _ in range(3 - rank):
        y = y.squeeze(2)
    return y if x.dim() == rank + 2 else y.squeeze(0)


def _spread_beta(beta: torch.Tensor, x: torch.Tensor, rank: int) -> torch.Tensor:
    """Return a learned beta, [] or [C], as a factor of ``x`` in its dtype."""
    channels = x.shape[-rank - 1]
    if beta.numel() != 1 and beta.shape != (channels,):
        raise ValueError(f"beta of shape {list(beta.shape)} must be one number, or one for each of {channels} channels")
    return beta.to(x.dtype).reshape(-1, *(1,) * rank)


def check_beta(beta: float | torch.Tensor) -> None:
    """Raise unless ``beta`` is a finite number or a floating-point tensor, whose values are not checked."""
    if isinstance(beta, torch.Tensor):
        if not beta.is_floating_point():
            raise TypeError(f"beta of dtype {beta.dtype} must be a floating-point tensor")
        return
    if isinstance(beta, bool) or not isinstance(beta, (int, float)):
        raise TypeError(f"beta={beta!r} must be a number")
    if not -sys.float_info.max <= beta <= sys.float_info.max:
        raise ValueError(f"beta={beta!r} must be finite. Use max pooling for the limit.")


def _check_tensor(name: str, x: torch.Tensor) -> None:
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name} is a {type(x).__name__}, but must be a torch.Tensor")
    if x.dtype not in _DTYPES:
        raise TypeError(
            f"{name} of dtype {x.dtype} must be float64, float32, float16 or bfloat16. Use {name}.float(), for example."
        )


def _check_input(name: str, x: torch.Tensor, rank: int) -> None:
    _check_tensor(name, x)
    axes = "[N,C,D,H,W] or [C,D,H,W]", "[N,C,H,W] or [C,H,W]", "[N,C,L] or [C,L]"
    if x.dim() not in (rank + 1, rank + 2):
        raise ValueError(f"{name} of shape {list(x.shape)} must be {axes[3 - rank]} for pooling over {rank} axes")
    if x.shape[-rank - 1] < 1:
        raise ValueError(f"{name} of shape {list(x.shape)} has no channels, but only the batch may be empty")
