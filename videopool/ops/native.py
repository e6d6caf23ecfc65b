"""Load the native libraries and register with torch how their ops trace, differentiate and batch.

``_C.so`` defines the ops ``videopool::soft_pool3d``, ``adaptive_soft_pool3d`` and ``softmax_pool3d``, each with its
``_backward``, and their CPU kernels; ``_C_cuda.so`` adds CUDA kernels. setup.py builds both; without them,
:mod:`videopool.ops.reference` computes. For the gradient, an op saves only its inputs.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from videopool.ops import reference
from videopool.ops.window import Window, output_sizes


class _Loaded(NamedTuple):
    cpu: bool
    cuda: bool
    problem: str  # why a library is not loaded


def driver_problem(folder: Path) -> str:
    """Return why the driver cannot run the CUDA kernels in ``folder``, "" if it can or there is none.

    The kernels contain the CUDA runtime of the nvcc that built them, whose major version the driver must support.
    """
    record = folder / "build.json"
    if torch.version.cuda is None or not record.exists():
        return ""
    built = json.loads(record.read_text(encoding="utf-8")).get("nvcc", "")
    driver = torch._C._cuda_getDriverVersion()  # type: ignore[attr-defined]  # such as 12080; 0 without a driver
    if not built or not driver or int(built.partition(".")[0]) <= driver // 1000:
        return ""
    supported = f"{driver // 1000}.{driver % 1000 // 10}"
    return (
        f"_C_cuda.so was built by nvcc of CUDA {built}, and the driver supports CUDA {supported}. Update the driver, "
        f"or build videopool with nvcc of CUDA {driver // 1000}"
    )


def _load() -> _Loaded:
    """Load the libraries that setup.py built, unless VIDEOPOOL_BUILD=none is in the environment."""
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
        elif name == "_C_cuda" and (unfit := driver_problem(folder)):
            problem = problem or unfit
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
    """Return what computes the pooling: "native-cpu+cuda (avx2)", "native-cpu (avx2)" or "reference".

    The instruction set of the CPU kernels is in brackets: baseline, avx2 or avx512. The environment variable
    VIDEOPOOL_ISA, read once, selects one. "cuda" means that CUDA kernels are loaded, not that there is a GPU;
    "reference" means plain torch operations on every device.
    """
    if not _LOADED.cpu:
        return "reference"
    instruction_set = _INSTRUCTION_SETS[torch.ops.videopool.cpu_instruction_set()]
    return f"native-cpu{'+cuda' if _LOADED.cuda else ''} ({instruction_set})"


def load_problem() -> str:
    """Return why a native library is not loaded, "" if both are."""
    return _LOADED.problem


def runs_on(device: torch.device) -> bool:
    """Return whether the native ops have kernels for tensors on ``device``."""
    if device.type == "cuda":
        return _LOADED.cuda
    return _LOADED.cpu and device.type in ("cpu", "meta")


def warn_once_about_fallback(device: torch.device) -> None:
    """Warn, at the first use on a type of device, that the reference runs instead of a native kernel."""
    if torch.compiler.is_compiling() or device.type in (*_warned, "meta"):  # nothing is computed on meta
        return
    _warned.add(device.type)
    reason = _LOADED.problem or f"there are no kernels for {device.type}"
    warnings.warn(
        f"videopool.ops runs in slower plain torch on {device.type}: {reason}. "
        "To build the kernels, install videopool where a C++ compiler (for CUDA tensors also nvcc) is available.",
        RuntimeWarning,
        stacklevel=5,
    )


def soft_pool3d(x: torch.Tensor, window: Window, beta: float, detach_weights: bool, relu: bool) -> torch.Tensor:
    """Run the native op on ``x`` [N,C,D,H,W] with a checked window of three axes -> [N,C,OD,OH,OW]."""
    return _pool(_SOFT, x, *window, beta, detach_weights, relu)


def adaptive_soft_pool3d(
    x: torch.Tensor, output_size: Sequence[int], beta: float, detach_weights: bool, relu: bool
) -> torch.Tensor:
    """Run the native op on ``x`` [N,C,D,H,W] -> [N,C,*output_size]."""
    return _pool(_ADAPTIVE, x, output_size, beta, detach_weights, relu)


def softmax_pool3d(values: torch.Tensor, logits: torch.Tensor, window: Window) -> torch.Tensor:
    """Run the native op on ``values`` and ``logits`` [N,C,D,H,W] of one dtype -> [N,C,OD,OH,OW]."""
    return _pool(_SOFTMAX, values, logits, *window)


class _Op(NamedTuple):
    """The description of one op: it takes ``tensors`` inputs of one shape, [N,C,D,H,W], then other arguments."""

    name: str
    tensors: int
    output_sizes: Callable[..., Sequence[int]]  # (sizes [D,H,W], arguments) -> [OD,OH,OW]
    reference: Callable[..., torch.Tensor]  # (tensors, arguments) in plain torch

    def pool(self, *inputs: Any) -> torch.Tensor:
        """Run the op."""
        y: torch.Tensor = getattr(torch.ops.videopool, self.name)(*inputs)
        return y

    def gradients(self, *inputs: Any) -> tuple[torch.Tensor, ...]:
        """Run the backward op: (grad, tensors, arguments) -> the gradient of every tensor."""
        outputs = getattr(torch.ops.videopool, f"{self.name}_backward")(*inputs)
        return (outputs,) if self.tensors == 1 else tuple(outputs)


def _make_window(
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> Window:
    """Return the window of the lists that the dispatcher passes."""
    return Window(tuple(kernel_size), tuple(stride), tuple(padding), tuple(dilation), ceil_mode)


_SOFT = _Op(
    "soft_pool3d",
    1,
    lambda sizes, *arguments: output_sizes(sizes, _make_window(*arguments[:5])),
    lambda x, *arguments: reference.soft_pool3d(x, _make_window(*arguments[:5]), *arguments[5:]),
)
_ADAPTIVE = _Op("adaptive_soft_pool3d", 1, lambda _, size, *arguments: size, reference.adaptive_soft_pool3d)
_SOFTMAX = _Op(
    "softmax_pool3d",
    2,
    lambda sizes, *arguments: output_sizes(sizes, _make_window(*arguments)),
    lambda values, logits, *arguments: reference.softmax_pool3d(values, logits, _make_window(*arguments)),
)


class _Pooling(torch.autograd.Function):
    """An op and its gradient for plain tensors, without the Python layers of a custom op's autograd.

    For small tensors these layers take most of the time. If a graph of the gradient is requested, the backward op uses
    them.
    """

    @staticmethod
    def forward(ctx: Any, op: _Op, *inputs: Any) -> torch.Tensor:
        ctx.save_for_backward(*inputs[: op.tensors])
        ctx.op, ctx.arguments = op, inputs[op.tensors :]
        with _below_autograd():
            return op.pool(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        op, inputs = ctx.op, (grad, *ctx.saved_tensors, *ctx.arguments)
        if torch.is_grad_enabled():
            gradients = op.gradients(*inputs)
        else:
            with _below_autograd():
                gradients = op.gradients(*inputs)
        return None, *gradients, *(None,) * len(ctx.arguments)


_below_autograd = torch._C._AutoDispatchBelowAutograd  # as torch.library uses it
_PLAIN = (torch.Tensor, torch.nn.Parameter)


def _pool(op: _Op, *inputs: Any) -> torch.Tensor:
    """Call an op, directly unless there is tracing, a transform, a mode or a tensor subclass."""
    tensors = inputs[: op.tensors]
    if (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._len_torch_dispatch_stack()
        or torch._C._are_functorch_transforms_active()
        or not all(type(t) in _PLAIN for t in tensors)
    ):
        return op.pool(*inputs)
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        y: torch.Tensor = _Pooling.apply(op, *inputs)
        return y
    with _below_autograd():
        return op.pool(*inputs)


def _is_channels_last(x: torch.Tensor) -> bool:
    """Return whether results for ``x`` are channels_last; the same rule as is_channels_last in csrc/ops.h."""
    return x.shape[1] > 1 and x.stride(1) == 1 and not x.is_contiguous()


def _empty(shape: Sequence[int], x: torch.Tensor) -> torch.Tensor:
    layout = torch.channels_last_3d if _is_channels_last(x) else torch.contiguous_format
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)


def _register(op: _Op) -> None:
    """Register with torch how ``op`` and its backward op trace, differentiate and batch."""
    name = f"videopool::{op.name}"
    count = op.tensors

    def fake(x: torch.Tensor, *rest: Any) -> torch.Tensor:
        return _empty((*x.shape[:2], *op.output_sizes(x.shape[2:], *rest[count - 1 :])), x)

    def fake_backward(grad: torch.Tensor, x: torch.Tensor, *rest: Any) -> torch.Tensor | tuple[torch.Tensor, ...]:
        return _empty(x.shape, x) if count == 1 else tuple(_empty(x.shape, x) for _ in range(count))

    def save(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        # The result is not saved, so the next layer may change it in place.
        ctx.save_for_backward(*inputs[:count])
        ctx.arguments = inputs[count:]

    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return *op.gradients(grad, *ctx.saved_tensors, *ctx.arguments), *(None,) * len(ctx.arguments)

    def save_for_double_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[: count + 1])
        ctx.arguments = inputs[count + 1 :]

    def double_backward(ctx: Any, *cotangents: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of the native gradient, by autograd through the reference; differentiable again."""
        keep_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            # Views, because grad may depend on x, which must not contribute to the derivative by x here.
            grad, *tensors = (
                t.view_as(t) if t.requires_grad else t.detach().requires_grad_() for t in ctx.saved_tensors
            )
            y = op.reference(*tensors, *ctx.arguments)
            first = torch.autograd.grad(y, tensors, grad, create_graph=True)
            wanted = torch.autograd.grad(
                first, (grad, *tensors), cotangents, create_graph=keep_graph, allow_unused=True, materialize_grads=True
            )
        return *wanted, *(None,) * len(ctx.arguments)

    def batch(info: Any, in_dims: Any, *inputs: Any) -> tuple[torch.Tensor, int]:
        merged = [_to_front(t, axis, info.batch_size) for t, axis in zip(inputs[:count], in_dims, strict=False)]
        return op.pool(*merged, *inputs[count:]).unflatten(0, (info.batch_size, -1)), 0

    def batch_backward(info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, Any]:
        merged = [_to_front(t, axis, info.batch_size) for t, axis in zip(inputs[: count + 1], in_dims, strict=False)]
        split = [t.unflatten(0, (info.batch_size, -1)) for t in op.gradients(*merged, *inputs[count + 1 :])]
        return (split[0], 0) if count == 1 else (tuple(split), (0,) * count)

    torch.library.register_fake(name, fake)
    torch.library.register_fake(f"{name}_backward", fake_backward)
    torch.library.register_autograd(name, backward, setup_context=save)
    torch.library.register_autograd(f"{name}_backward", double_backward, setup_context=save_for_double_backward)
    torch.library.register_vmap(name, batch)
    torch.library.register_vmap(f"{name}_backward", batch_backward)


def _to_front(tensor: torch.Tensor, axis: int | None, size: int) -> torch.Tensor:
    """Return ``tensor`` with the batched axis of vmap merged into the first axis: [size * N, ...]."""
    moved = tensor.expand(size, *tensor.shape) if axis is None else tensor.movedim(axis, 0)
    return moved.flatten(0, 1)


if _LOADED.cpu:
    for _op in (_SOFT, _ADAPTIVE, _SOFTMAX):
        _register(_op)
