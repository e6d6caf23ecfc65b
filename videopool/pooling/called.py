"""Replace pools that a network calls as functions inside a ``forward`` by layers.

A call is named ``<module path>:<function>[k]``: the k-th call (from 0) of that function in one run of the forward of
that module, not counting calls of the modules that it runs. To replace a call, the module gets a subclass of its class,
as ``torch.nn.utils.parametrize`` does, whose forward intercepts the k-th call. A forward that makes more or fewer calls
of a function than in the example (a loop, a branch for training) is an error, since its k-th call could be another one.

Under ``torch.compile`` the forward of such a module, and everything that it runs, is not compiled.
"""

from __future__ import annotations

import contextlib
import copyreg
import dataclasses
import sys
import threading
import types
from collections import Counter
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from videopool.errors import InputError
from videopool.pooling.base import Pool, describe_window, per_axis

_MAX = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
_AVERAGE = ("input", "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
_ADAPTIVE = ("input", "output_size")

# By function: method, number of pooled axes, and the arguments in their order. Functions that return indices have other
# names when torch dispatches them, and are not sites.
FUNCTIONS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "max_pool1d": ("max", 1, _MAX),
    "max_pool2d": ("max", 2, _MAX),
    "max_pool3d": ("max", 3, _MAX),
    "avg_pool1d": ("avg", 1, _AVERAGE),
    "avg_pool2d": ("avg", 2, _AVERAGE),
    "avg_pool3d": ("avg", 3, _AVERAGE),
    "adaptive_avg_pool1d": ("avg", 1, _ADAPTIVE),
    "adaptive_avg_pool2d": ("avg", 2, _ADAPTIVE),
    "adaptive_avg_pool3d": ("avg", 3, _ADAPTIVE),
    "adaptive_max_pool1d": ("max", 1, _ADAPTIVE),
    "adaptive_max_pool2d": ("max", 2, _ADAPTIVE),
    "adaptive_max_pool3d": ("max", 3, _ADAPTIVE),
}


@dataclasses.dataclass(frozen=True)
class PoolCall:
    """A call of a pooling function.

    ``method`` and ``kernel_size`` are as in ``Site``; ``shape`` is that of the input; ``calls`` is how often the
    forward called the function in the example, None if unknown.
    """

    method: str
    rank: int
    kernel_size: tuple[int, ...] | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool
    shape: Sequence[int] = dataclasses.field(compare=False)
    calls: int | None = dataclasses.field(default=None, compare=False)

    @classmethod
    def read(cls, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> PoolCall | None:
        """Return the call of ``function`` with these arguments; None for adaptive pooling to more than one cell."""
        method, rank, names = FUNCTIONS[function]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        shape = given["input"].shape
        zeros, ones = (0,) * rank, (1,) * rank
        if "output_size" in given:
            size = given["output_size"]
            cells = size if isinstance(size, tuple | list) else (size,)
            return cls(method, rank, None, ones, zeros, ones, False, shape) if set(cells) == {1} else None
        kernel = per_axis(given["kernel_size"], rank, "kernel_size")
        stride, padding = given.get("stride"), per_axis(given.get("padding", 0), rank, "padding")
        if method == "avg":
            method = average_name(padding, given.get("count_include_pad", True), given.get("divisor_override"))
        return cls(
            method,
            rank,
            kernel,
            kernel if stride is None or stride == () or stride == [] else per_axis(stride, rank, "stride"),
            padding,
            per_axis(given.get("dilation", 1), rank, "dilation"),
            bool(given.get("ceil_mode", False)),
            shape,
        )

    @property
    def covers_all(self) -> bool:
        """Whether one unpadded window covered the whole input, by a constant size or by one computed from the input."""
        return self.kernel_size == tuple(self.shape[-self.rank :]) and not any(self.padding)

    def window(self) -> str:
        """Return the window in one line."""
        return describe_window(self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)


def average_name(padding: tuple[int, ...], count_include_pad: bool, divisor: int | None) -> str:
    """Return ``avg``, or another name where the average is not the mean of the real cells of a window."""
    if divisor is not None:
        return f"avg (divisor {divisor})"
    return "avg (padding counted)" if any(padding) and count_include_pad else "avg"


def function_name(function: Any) -> str:
    """Return the name of a function of torch as in the keys of ``FUNCTIONS``; empty for other functions.

    It is also empty for ``torch.adaptive_max_pool1d`` and the like, which, unlike ``torch.nn.functional``'s, return
    indices too.
    """
    if not str(getattr(function, "__module__", None) or "torch").startswith("torch"):
        return ""
    name = getattr(function, "__name__", "")
    returns_indices = name.startswith("adaptive_max_pool") and not isinstance(function, types.FunctionType)
    return "" if returns_indices else name


def called_path(owner: str, function: str, count: int) -> str:
    """Return the path of a call: ``<module path>:<function>[k]``."""
    return f"{owner}:{function}[{count}]"


def split_path(path: str) -> tuple[str, str, int]:
    """Return the module path, function and k of the path of a call."""
    owner, _, call = path.partition(":")
    function, _, count = call.rstrip("]").partition("[")
    return owner, function, int(count)


def is_called(path: str) -> bool:
    """Return whether the path of a site is that of a call."""
    return ":" in path


def running_module() -> tuple[nn.Module | None, bool]:
    """Return the module whose forward is making the current call, and whether ``torch.utils.checkpoint`` wraps it.

    A checkpointed function runs again in the backward pass, where its calls are not intercepted.
    """
    frame: FrameType | None = sys._getframe(1)
    checkpointed = False
    while frame is not None:
        if frame.f_code is _CALL_IMPL or frame.f_code is _FORWARD:
            return frame.f_locals["self"], checkpointed
        checkpointed |= frame.f_globals.get("__name__") == "torch.utils.checkpoint"
        frame = frame.f_back
    return None, checkpointed


_CALL_IMPL = nn.Module._call_impl.__code__
_observing = threading.local()


@contextlib.contextmanager
def ignoring_called_pools() -> Iterator[None]:
    """Return a context in which this thread's calls go to the original functions instead of layers."""
    before = getattr(_observing, "on", False)
    _observing.on = True
    try:
        yield
    finally:
        _observing.on = before


class _ReplacedCalls(TorchFunctionMode):
    """Run the layers that replace pooling calls during one run of ``owner.forward``."""

    def __init__(self, owner: Any) -> None:
        super().__init__()
        self.owner: Any = owner
        self.counts: Counter[str] = Counter()

    @property
    def owner_name(self) -> str:
        """The name of the original class of the owner."""
        return str(_pooled_class_of(self.owner).__base__.__name__)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function_name(func)
        if name in FUNCTIONS and self.is_own_call(name):
            key = (name, self.counts[name])
            self.counts[name] += 1
            if key in self.owner._called_pools:
                layer, expected = self.owner._called_pools[key]
                self.check(key, expected, PoolCall.read(name, args, kwargs))
                return self.owner._modules[layer](args[0] if args else kwargs["input"])
        return func(*args, **kwargs)

    def is_own_call(self, name: str) -> bool:
        """Return whether the current call is made by the owner's own forward."""
        module, checkpointed = running_module()
        if id(module) != id(self.owner):
            return False
        if checkpointed and any(function == name for function, _ in self.owner._called_pools):
            raise InputError(
                f"{self.owner_name} calls {name} within torch.utils.checkpoint, which runs "
                "it again without the layer that replaces it. Use a pooling module there, then swap it."
            )
        return True

    def check_counts(self) -> None:
        """Raise ``InputError`` if the run made another number of calls than the example."""
        for (function, _), (_, call) in self.owner._called_pools.items():
            if call.calls not in (None, self.counts[function]):
                raise InputError(
                    f"{self.owner_name} calls {function} {self.counts[function]} times, and "
                    f"{call.calls} times in the example of the swap, so its calls cannot be identified. Use pooling "
                    "modules there, then swap them."
                )

    def check(self, key: tuple[str, int], expected: PoolCall, call: PoolCall | None) -> None:
        """Raise ``InputError`` for a call with another window than the swapped one, which the layer would ignore."""
        if call == expected:
            return
        now = "another output size" if call is None else f"window {call.window()} on an input of {list(call.shape)}"
        raise InputError(
            f"{self.owner_name} calls {key[0]}[{key[1]}] with {now}; it was swapped as "
            f"{expected.window()}. Use a pooling module with a fixed window there, then swap it."
        )


def _forward(self: Any, *args: Any, **kwargs: Any) -> Any:
    """The forward of a module some of whose calls are replaced by layers."""
    forward = super(_pooled_class_of(self), self).forward
    if getattr(_observing, "on", False):
        return forward(*args, **kwargs)
    with _ReplacedCalls(self) as replaced:
        result = forward(*args, **kwargs)
    replaced.check_counts()
    return result


_FORWARD = _forward.__code__


def _reduce(self: Any, protocol: Any) -> Any:
    """Copy and pickle under the original class, whose subclass is created again on loading."""
    own = _pooled_class_of(self)
    make, arguments, *rest = super(own, self).__reduce_ex__(protocol)
    if type(self) is not own or make is not copyreg.__newobj__:  # type: ignore[attr-defined]
        return (make, arguments, *rest)
    return (_new, (own.__base__, *arguments[1:]), *rest)


def _new(base: type[nn.Module], *arguments: Any) -> Any:
    made = _pooled_class(base)
    return made.__new__(made, *arguments)


def _pooled_class(base: Any) -> Any:
    """Return the subclass of ``base`` that intercepts calls; all modules of one class share it."""
    if base in _classes:
        return _classes[base]
    body = {
        "forward": torch.compiler.disable(_forward),
        "__reduce_ex__": _reduce,
        "__module__": base.__module__,
        "__doc__": base.__doc__,
        "replaces_calls": True,
    }
    _classes[base] = type(base)(f"Pooled{base.__name__}", (base,), body)
    return _classes[base]


_classes: dict[Any, Any] = {}


def _pooled_class_of(module: nn.Module) -> Any:
    """Return our class of ``module``, or that which its class derives from; None if there is none."""
    return next((cls for cls in type(module).__mro__ if "replaces_calls" in vars(cls)), None)


def called_pools(owner: Any) -> dict[tuple[str, int], tuple[Pool, PoolCall]]:
    """Return, by function and k, the layers that replace calls of ``owner``, and those calls."""
    if _pooled_class_of(owner) is None:
        return {}
    return {key: (owner._modules[layer], call) for key, (layer, call) in owner._called_pools.items()}


def layer_path(owner: Any, path: str) -> str:
    """Return the path of the layer that replaces the call at ``path``, which ``owner`` makes."""
    parent, function, count = split_path(path)
    name, _ = owner._called_pools[function, count]
    return f"{parent}.{name}" if parent else name


def refusal(owner: nn.Module) -> str:
    """Return why calls of ``owner`` cannot be replaced by layers; empty if they can."""
    if isinstance(owner, torch.jit.ScriptModule | torch.fx.GraphModule):
        return "its code is generated"
    if isinstance(owner, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return "it is a container, which would also run a layer added to it"
    if "forward" in vars(owner):
        return "its forward was replaced"
    own = _pooled_class_of(owner)
    return "its class has changed since" if own is not None and own is not type(owner) else ""


def replace_call(owner: Any, function: str, count: int, pool: Pool, call: PoolCall) -> None:
    """Replace a call of ``owner`` by ``pool``, which is registered as ``pool_<function>_<k>``."""
    if _pooled_class_of(owner) is None:
        owner.__class__ = _pooled_class(type(owner))
        owner._called_pools = {}
    known = owner._called_pools.get((function, count))
    name = known[0] if known else f"pool_{function}_{count}"
    while known is None and hasattr(owner, name):
        name += "_"
    owner._called_pools[function, count] = (name, call)
    owner._modules[name] = pool


def restore_call(owner: Any, function: str, count: int) -> None:
    """Undo ``replace_call``; after the last one, ``owner`` has its original class again."""
    name, _ = owner._called_pools.pop((function, count))
    del owner._modules[name]
    if not owner._called_pools:
        del owner._called_pools
        owner.__class__ = type(owner).__base__
