"""Count the parameters of a network and the arithmetic of one forward pass.

FLOPs are those of fvcore, in the field's convention: one multiply-add counts as one; convolutions, matrix products and
normalization count; element-wise operations (activations, residual sums) do not. fvcore also ignores most pools. Here
they count, to compare methods, for every cell of every window, padded cells included:

* average: 1, an addition; maximum: 1, a comparison;
* softmax-weighted, by the native ops: 3, the exponential, its sum, and one multiply-add;
* every other operator in a layer of ``videopool.pooling``: 1 for every element of the larger of input and output, 3
  for a softmax; convolutions and normalization as fvcore counts them.

Without the native ops, SoftPool is plain torch and has a larger count.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import nn

from videopool.pooling.base import Pool
from videopool.pooling.observe import run_example

_PER_CELL = {"max": 1, "avg": 1, "soft": 3, "softmax": 3}
# Element-wise operators and reductions, which count only inside pooling layers.
_ELEMENTWISE = (
    "abs", "add", "amax", "amin", "cumsum", "div", "exp", "expm1", "hypot", "lerp", "log", "log1p", "logaddexp",
    "logsumexp", "maximum", "mean", "minimum", "mul", "neg", "pow", "reciprocal", "rsqrt", "rsub", "sigmoid",
    "softplus", "sqrt", "square", "sub", "sum", "tanh",
)  # fmt: skip
# Shapes, copies and comparisons that cost nothing and that fvcore does not list.
_FREE = (
    "as_strided", "broadcast_to", "clone", "expand_as", "gather", "index_select", "isfinite", "le", "logical_and",
    "logical_not", "logical_or", "lt", "masked_fill", "movedim", "moveaxis", "nan_to_num", "ne", "pad", "reshape_as",
    "swapaxes", "take_along_dim", "unflatten", "unfold", "view_as", "where",
)  # fmt: skip
_MARK = "within pools: "


@dataclasses.dataclass(frozen=True)
class Cost:
    """Parameters and FLOPs of a network on one input.

    ``flops`` counts one multiply-add as one; ``uncounted`` names the operators of torch that it does not include.
    """

    parameters: int
    flops: int
    uncounted: tuple[str, ...] = ()

    def compared_with(self, after: Cost) -> list[str]:
        """Return two lines: parameters and FLOPs before and after, and the difference in percent."""
        return [
            f"parameters  {_difference(self.parameters, after.parameters)}",
            f"FLOPs       {_difference(self.flops, after.flops)}",
        ]


def cost(model: nn.Module, example: Any) -> Cost:
    """Return the parameters of ``model`` and the FLOPs of one forward pass in evaluation mode.

    Args:
        model: any network; it is not changed.
        example: its input: a tensor (on any device, meta included) or a tuple of positional inputs. FLOPs are those of
            the whole batch: give one clip for FLOPs per clip.

    Raises:
        InputError: if the model does not run on the example.
    """
    flops, uncounted = run_example(model, example, _count)
    return Cost(sum(parameter.numel() for parameter in model.parameters()), flops, uncounted)


def _count(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[int, tuple[str, ...]]:
    """Return the FLOPs and the names of the operators that are not counted."""
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model, inputs).set_op_handle(**_handles())
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    everywhere, in_pools = analysis.by_operator(), Counter[str]()
    by_module = analysis.by_module_and_operator()
    for path in _outermost_pools(model):
        in_pools.update({name: count for name, count in by_module[path].items() if name.startswith(_MARK)})
    flops = sum(count for name, count in everywhere.items() if not name.startswith(_MARK)) + sum(in_pools.values())
    outside = {
        name.removeprefix(_MARK) for name in everywhere if name.startswith(_MARK) and everywhere[name] > in_pools[name]
    }
    return int(flops), tuple(sorted({*analysis.unsupported_ops(), *outside}))


def _outermost_pools(model: nn.Module) -> list[str]:
    paths: list[str] = []
    for path, module in model.named_modules():
        if isinstance(module, Pool) and not any(path.startswith(f"{outer}.") or not outer for outer in paths):
            paths.append(path)
    return paths


def _handles() -> dict[str, Callable[[Any, Any], Any] | None]:
    """Return, by operator of a trace, the function of (inputs, outputs) that counts it, or None for no work."""
    handles: dict[str, Callable[[Any, Any], Any] | None] = {f"aten::{name}": None for name in _FREE}
    for rank in (1, 2, 3):
        for name in (f"max_pool{rank}d", f"max_pool{rank}d_with_indices", f"avg_pool{rank}d"):
            handles[f"aten::{name}"] = _windowed(_PER_CELL[name[:3]], 1)
        for name in (f"adaptive_max_pool{rank}d", f"adaptive_avg_pool{rank}d"):
            handles[f"aten::{name}"] = _tiled(_PER_CELL["max"])
    handles["videopool::soft_pool3d"] = _windowed(_PER_CELL["soft"], 1)
    handles["videopool::softmax_pool3d"] = _windowed(_PER_CELL["softmax"], 2)
    handles["videopool::adaptive_soft_pool3d"] = _tiled(_PER_CELL["soft"])
    for name in _ELEMENTWISE:
        handles[f"aten::{name}"] = handles[f"aten::{name}_"] = _elementwise(f"aten::{name}", 1)
    for name in ("softmax", "log_softmax"):
        handles[f"aten::{name}"] = _elementwise(f"aten::{name}", 3)
    return handles


def _windowed(per_cell: int, position: int) -> Callable[[Any, Any], int]:
    """Return the count of a pool whose kernel size is input ``position``; a variable one takes every cell once."""

    def count(inputs: Any, outputs: Any) -> int:
        kernel = _constants(inputs[position])
        if kernel is None:
            return per_cell * _elements(inputs[0])
        return per_cell * _elements(outputs[0]) * math.prod(kernel)

    return count


def _tiled(per_cell: int) -> Callable[[Any, Any], int]:
    """Return the count of a pool whose windows take every cell once."""
    return lambda inputs, outputs: per_cell * _elements(inputs[0])


def _elementwise(name: str, per_element: int) -> Callable[[Any, Any], Counter[str]]:
    """Return the count of an operator under a marked name, which is dropped outside pools."""

    def count(inputs: Any, outputs: Any) -> Counter[str]:
        return Counter({_MARK + name: per_element * max(_elements(inputs[0]), _elements(outputs[0]))})

    return count


def _elements(value: Any) -> int:
    """Return how many numbers a value of a trace has; 1 if it is not a tensor."""
    sizes = getattr(value.type(), "sizes", lambda: None)()
    return math.prod(sizes) if sizes is not None else 1


def _constants(value: Any) -> list[int] | None:
    """Return the integers of a constant list of a trace; None if they were computed."""
    whole = value.toIValue()
    if whole is not None:
        return list(whole) if isinstance(whole, list | tuple) else [int(whole)]
    numbers = [element.toIValue() for element in value.node().inputs()]
    return None if not numbers or None in numbers else [int(number) for number in numbers]


def _difference(before: int, after: int) -> str:
    percent = f" ({100 * (after - before) / before:+.2f} %)" if before else ""
    return f"{before:,} before, {after:,} after{percent}"
