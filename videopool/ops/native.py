"""The native libraries: loading them, and telling torch how their op traces, differentiates and batches.

``_C.so`` defines the ops ``videopool::soft_pool3d`` and ``videopool::soft_pool3d_backward`` with CPU kernels,
``_C_cuda.so`` adds CUDA kernels; setup.py builds them. Without them :mod:`videopool.ops.reference` is used.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from videopool.ops import reference
from videopool.ops.window import Window, output_sizes

Tensors4 = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class _Loaded(NamedTuple):
    cpu: bool
    cuda: bool
    problem: str  # why something is not loaded, for the warning


def _load() -> _Loaded:
    """Load what setup.py built. VIDEOPOOL_BUILD=none in the environment hides it, as if nothing had been built."""
    folder = Path(__file__).parent
    if os.environ.get("VIDEOPOOL_BUILD") == "none":
        return _Loaded(False, False, "VIDEOPOOL_BUILD=none is set")
    loaded = {}
    problem = ""
    for name in ("_C", "_C_cuda"):
        library = folder / f"{name}.so"
        loaded[name] = False
        if not library.exists():
            problem = problem or f"{library.name} was not built"
        elif name == "_C" or loaded["_C"]:
            try:
                torch.ops.load_library(str(library))
                loaded[name] = True
            except OSError as error:
                problem = problem or f"{library.name} does not load: {str(error).splitlines()[0]}"
    return _Loaded(loaded["_C"], loaded["_C_cuda"], problem)


_LOADED = _load()
_INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
_warned: set[str] = set()


def backend() -> str:
    """What computes the pooling: "native-cpu+cuda (avx2)", "native-cpu (avx2)" or "reference".

    The word in brackets is the instruction set of the CPU kernels in use: baseline, avx2 or avx512. The environment
    variable VIDEOPOOL_ISA, read once, asks for one of them. "cuda" says that CUDA kernels are loaded, not that there
    is a GPU. "reference" means plain torch operations on every device.
    """
    if not _LOADED.cpu:
        return "reference"
    instruction_set = _INSTRUCTION_SETS[torch.ops.videopool.cpu_instruction_set()]
    return f"native-cpu{'+cuda' if _LOADED.cuda else ''} ({instruction_set})"


def runs_on(device: torch.device) -> bool:
    """Whether the native op has a kernel for tensors on ``device``."""
    if device.type == "cuda":
        return _LOADED.cuda
    return _LOADED.cpu and device.type in ("cpu", "meta")


def warn_once_about_fallback(device: torch.device) -> None:
    """Say, at the first use on a kind of device, that the reference runs instead of a native kernel."""
    if torch.compiler.is_compiling() or device.type in _warned:
        return
    _warned.add(device.type)
    reason = _LOADED.problem or f"there are no kernels for {device.type}"
    warnings.warn(
        f"videopool.ops uses its slower plain torch form on {device.type}: {reason}. "
        "Install videopool where a C++ compiler (for CUDA tensors also nvcc) is found to build the kernels.",
        RuntimeWarning,
        stacklevel=5,
    )


def soft_pool3d(x: torch.Tensor, window: Window, beta: float, detach_weights: bool) -> torch.Tensor:
    """The native op for ``x`` [N,C,D,H,W] and a checked window of three axes -> [N,C,OD,OH,OW]."""
    want_stats = x.requires_grad and torch.is_grad_enabled()
    outputs: Tensors4 = torch.ops.videopool.soft_pool3d(x, *window, beta, detach_weights, want_stats)
    return outputs[0]


def _is_channels_last(x: torch.Tensor) -> bool:
    """The layout of the results for ``x``; the twin of is_channels_last in csrc/checks.h."""
    return x.shape[1] > 1 and x.stride(1) == 1 and not x.is_contiguous()


def _memory_format(x: torch.Tensor) -> torch.memory_format:
    return torch.channels_last_3d if _is_channels_last(x) else torch.contiguous_format


def _make_window(
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> Window:
    """The window from what the dispatcher passes: lists."""
    return Window(tuple(kernel_size), tuple(stride), tuple(padding), tuple(dilation), ceil_mode)


def _fake_forward(
    x: torch.Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    beta: float,
    detach_weights: bool,
    want_stats: bool,
) -> Tensors4:
    window = _make_window(kernel_size, stride, padding, dilation, ceil_mode)
    shape = (*x.shape[:2], *output_sizes(x.shape[2:], window))
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    layout = _memory_format(x)

    def new(dtype: torch.dtype, wanted: bool) -> torch.Tensor:
        if not wanted:
            return x.new_empty((0,), dtype=dtype)
        return torch.empty(shape, dtype=dtype, device=x.device, memory_format=layout)

    low = want_stats and wide == x.dtype
    return new(x.dtype, True), new(wide, want_stats), new(wide, low), new(wide, want_stats)


def _fake_backward(grad: torch.Tensor, x: torch.Tensor, *arguments: object) -> torch.Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=_memory_format(x))


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensors4) -> None:
    x, *arguments, want_stats = inputs
    _, center, center_low, lse = output
    # y is not saved: what follows may change it in place.
    ctx.save_for_backward(x, center, center_low, lse)
    ctx.mark_non_differentiable(center, center_low, lse)
    ctx.set_materialize_grads(False)
    ctx.arguments, ctx.has_stats = arguments, want_stats


def _backward(ctx: Any, grad: torch.Tensor | None, *_: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
    nothing = (None,) * 8
    if grad is None:
        return None, *nothing
    x, *stats = ctx.saved_tensors
    if not ctx.has_stats:
        # Function transforms may hide from the caller that a gradient will be needed.
        with torch.no_grad():
            _, *stats = torch.ops.videopool.soft_pool3d(x, *ctx.arguments, True)
    *window, beta, detach_weights = ctx.arguments
    return torch.ops.videopool.soft_pool3d_backward(grad, x, *stats, *window, beta, detach_weights), *nothing


def _save_for_double_backward(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    grad, x, _, _, _, *ctx.arguments = inputs
    ctx.save_for_backward(grad, x)


def _double_backward(ctx: Any, cotangent: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    """Gradients of the native gradient, by autograd through the reference form; differentiable again."""
    kernel_size, stride, padding, dilation, ceil_mode, beta, detach_weights = ctx.arguments
    window = _make_window(kernel_size, stride, padding, dilation, ceil_mode)
    keep_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Aliases: grad may itself depend on x, and its share must not be counted into the derivative by x here.
        grad, x = (t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in ctx.saved_tensors)
        y = reference.soft_pool3d(x, window, beta, detach_weights)
        (dx,) = torch.autograd.grad(y, x, grad, create_graph=True)
        wanted = torch.autograd.grad(dx, (grad, x), cotangent, create_graph=keep_graph, allow_unused=True)
    of_grad, of_x = wanted
    return of_grad, torch.zeros_like(x) if of_x is None else of_x, *(None,) * 10


def _to_front(tensor: torch.Tensor, axis: int | None, size: int) -> torch.Tensor:
    """The batched axis of vmap merged into the first axis: [size * N, ...]."""
    moved = tensor.expand(size, *tensor.shape) if axis is None else tensor.movedim(axis, 0)
    return moved.flatten(0, 1)


def _batch_forward(info: Any, in_dims: Any, x: torch.Tensor, *arguments: Any) -> tuple[Tensors4, Any]:
    size = info.batch_size
    outputs = torch.ops.videopool.soft_pool3d(_to_front(x, in_dims[0], size), *arguments)
    # Statistics that were not asked for have no batch axis; they still need one to come back.
    split = [t.unflatten(0, (size, -1)) if t.dim() == 5 else t.expand(size, *t.shape) for t in outputs]
    return (split[0], split[1], split[2], split[3]), (0, 0, 0, 0)


def _batch_backward(info: Any, in_dims: Any, *inputs: Any) -> tuple[torch.Tensor, int]:
    size = info.batch_size
    merged = []
    for tensor, axis in zip(inputs[:5], in_dims[:5], strict=True):
        unbatched = tensor.dim() - (axis is not None)
        merged.append(_to_front(tensor, axis, size) if unbatched == 5 else tensor.new_empty((0,)))
    return torch.ops.videopool.soft_pool3d_backward(*merged, *inputs[5:]).unflatten(0, (size, -1)), 0


def _register() -> None:
    forward, backward = "videopool::soft_pool3d", "videopool::soft_pool3d_backward"
    torch.library.register_fake(forward, _fake_forward)
    torch.library.register_fake(backward, _fake_backward)
    torch.library.register_autograd(forward, _backward, setup_context=_save_for_backward)
    torch.library.register_autograd(backward, _double_backward, setup_context=_save_for_double_backward)
    torch.library.register_vmap(forward, _batch_forward)
    torch.library.register_vmap(backward, _batch_backward)


if _LOADED.cpu:
    _register()
