"""Pools that a network calls as functions inside a ``forward``: recognising such a call, and answering it by a layer.

A call is named ``<module path>:<function>[k]``: the k-th call (from 0) of that function in one run of the forward of
that module; what other modules call while they run within it is theirs. A call is answered by making the module's
class a subclass of itself, as ``torch.nn.utils.parametrize`` does, whose forward watches for the k-th call. A forward
that makes more or fewer calls of a function than in the example (a loop, a branch for training) is refused, since its
k-th call could be another one.

Under ``torch.compile`` the forward of such a module runs uncompiled, with all that it contains.
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

# By the name of the function: method, pooled axes, and its arguments in their order. Those that return indices have
# other names where torch announces them, and are no sites.
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
class Call:
    """What a pooling function was called with.

    ``method`` is worded as in ``Site``; ``kernel_size`` is None for a global pool; ``shape`` is that of its input;
    ``calls`` is how many calls of the function the forward made in the example, None where that is not known.
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
    def read(cls, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """The call of ``function`` with these arguments; None where it is no site: adaptive to more than one cell."""
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
        """Whether one unpadded window was all of the input: a constant, or a kernel made from the input's size."""
        return self.kernel_size == tuple(self.shape[-self.rank :]) and not any(self.padding)

    def window(self) -> str:
        """The window in one line."""
        return describe_window(self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)


def average_name(padding: tuple[int, ...], count_include_pad: bool, divisor: int | None) -> str:
    """``avg``, or what is particular where an average is not the mean of the real cells of a window."""
    if divisor is not None:
        return f"avg (divisor {divisor})"
    return "avg (padding counted)" if any(padding) and count_include_pad else "avg"


def function_name(function: Any) -> str:
    """The name of a function of torch as the keys of ``FUNCTIONS`` write it; empty for what is none of torch's.

    Empty as well for ``torch.adaptive_max_pool1d`` and its like, which, unlike those of ``torch.nn.functional``, return
    indices too.
    """
    if not str(getattr(function, "__module__", None) or "torch").startswith("torch"):
        return ""
    name = getattr(function, "__name__", "")
    returns_indices = name.startswith("adaptive_max_pool") and not isinstance(function, types.FunctionType)
    return "" if returns_indices else name


def called_path(owner: str, function: str, count: int) -> str:
    """The path of a call: ``<module path>:<function>[k]``."""
    return f"{owner}:{function}[{count}]"


def split_path(path: str) -> tuple[str, str, int]:
    """Module path, function and k of the path of a call."""
    owner, _, call = path.partition(":")
    function, _, count = call.rstrip("]").partition("[")
    return owner, function, int(count)


def is_called(path: str) -> bool:
    """Whether a path of a site is that of a call."""
    return ":" in path


def running_module() -> tuple[nn.Module | None, bool]:
    """The module whose forward made the call that is being looked at, and whether it did in a checkpointed function.

    What ``torch.utils.checkpoint`` wraps is called again in the backward pass, where nobody would answer the call.
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
    """Within it, in this thread, calls that layers answer go to the functions that the code names."""
    before = getattr(_observing, "on", False)
    _observing.on = True
    try:
        yield
    finally:
        _observing.on = before


class _Answers(TorchFunctionMode):
    """Answers the pooling calls of one run of ``owner.forward`` that have a layer."""

    def __init__(self, owner: Any) -> None:
        super().__init__()
        self.owner: Any = owner
        self.counts: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function_name(func)
        if name in FUNCTIONS and self.is_own_call(name):
            key = (name, self.counts[name])
            self.counts[name] += 1
            if key in self.owner._called_pools:
                layer, expected = self.owner._called_pools[key]
                self.check(key, expected, Call.read(name, args, kwargs))
                return self.owner._modules[layer](args[0] if args else kwargs["input"])
        return func(*args, **kwargs)

    def is_own_call(self, name: str) -> bool:
        """Whether the call being looked at is one of the owner's own forward."""
        module, checkpointed = running_module()
        if id(module) != id(self.owner):
            return False
        if checkpointed and any(function == name for function, _ in self.owner._called_pools):
            raise InputError(
                f"{_answering(self.owner).__base__.__name__} calls {name} within torch.utils.checkpoint, which would "
                "call it again behind the layer that it was swapped for; make it a module to swap it"
            )
        return True

    def check_counts(self) -> None:
        """Refuse a run that made another number of calls than the example did."""
        for (function, _), (_, call) in self.owner._called_pools.items():
            if call.calls not in (None, self.counts[function]):
                raise InputError(
                    f"{_answering(self.owner).__base__.__name__} calls {function} {self.counts[function]} times, and "
                    f"{call.calls} times in the example that it was swapped with, so its calls cannot be told apart; "
                    "make them modules to swap them"
                )

    def check(self, key: tuple[str, int], expected: Call, call: Call | None) -> None:
        """Refuse a call with another window than the one that was swapped, which the layer would not know of."""
        if call == expected:
            return
        now = "another output size" if call is None else f"window {call.window()} on an input of {list(call.shape)}"
        raise InputError(
            f"{_answering(self.owner).__base__.__name__} calls {key[0]}[{key[1]}] with {now}; it was swapped as "
            f"{expected.window()}; make it a module with a fixed window to swap it"
        )


def _forward(self: Any, *args: Any, **kwargs: Any) -> Any:
    """The forward of a module some of whose calls are answered by layers."""
    forward = super(_answering(self), self).forward
    if getattr(_observing, "on", False):
        return forward(*args, **kwargs)
    with _Answers(self) as answers:
        result = forward(*args, **kwargs)
    answers.check_counts()
    return result


_FORWARD = _forward.__code__


def _reduce(self: Any, protocol: Any) -> Any:
    """Copies and pickles name the class that torch and the user know, and make ours of it again."""
    own = _answering(self)
    make, arguments, *rest = super(own, self).__reduce_ex__(protocol)
    if type(self) is not own or make is not copyreg.__newobj__:  # type: ignore[attr-defined]
        return (make, arguments, *rest)
    return (_new, (own.__base__, *arguments[1:]), *rest)


def _new(base: type[nn.Module], *arguments: Any) -> Any:
    made = _answering_class(base)
    return made.__new__(made, *arguments)


def _answering_class(base: Any) -> Any:
    """The subclass of ``base`` whose calls are answered; the same for all modules of that class."""
    if base in _classes:
        return _classes[base]
    body = {
        "forward": torch.compiler.disable(_forward),
        "__reduce_ex__": _reduce,
        "__module__": base.__module__,
        "__doc__": base.__doc__,
        "answers_calls": True,
    }
    _classes[base] = type(base)(f"Pooled{base.__name__}", (base,), body)
    return _classes[base]


_classes: dict[Any, Any] = {}


def _answering(module: nn.Module) -> Any:
    """The class of ours that ``module`` has, also below classes that others derived from it; or None."""
    return next((cls for cls in type(module).__mro__ if "answers_calls" in vars(cls)), None)


def called_pools(owner: Any) -> dict[tuple[str, int], tuple[Pool, Call]]:
    """By function and k, the layers that answer calls of ``owner``, and the calls that they answer."""
    if _answering(owner) is None:
        return {}
    return {key: (owner._modules[layer], call) for key, (layer, call) in owner._called_pools.items()}


def layer_path(owner: Any, path: str) -> str:
    """The path of the layer that answers the call at ``path``, which ``owner`` makes."""
    parent, function, count = split_path(path)
    name, _ = owner._called_pools[function, count]
    return f"{parent}.{name}" if parent else name


def refusal(owner: nn.Module) -> str:
    """Why calls of ``owner`` cannot be answered by layers; empty where they can."""
    if isinstance(owner, torch.jit.ScriptModule | torch.fx.GraphModule):
        return "its code is generated"
    if isinstance(owner, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return "it is a container, which would run a layer that is put into it"
    if "forward" in vars(owner):
        return "its forward was replaced"
    own = _answering(owner)
    return "its class was changed since" if own is not None and own is not type(owner) else ""


def answer(owner: Any, function: str, count: int, pool: Pool, call: Call) -> None:
    """Let ``pool`` answer a call of ``owner`` from now on; it is registered as ``pool_<function>_<k>``."""
    if _answering(owner) is None:
        owner.__class__ = _answering_class(type(owner))
        owner._called_pools = {}
    known = owner._called_pools.get((function, count))
    name = known[0] if known else f"pool_{function}_{count}"
    while known is None and hasattr(owner, name):
        name += "_"
    owner._called_pools[function, count] = (name, call)
    owner._modules[name] = pool


def unanswer(owner: Any, function: str, count: int) -> None:
    """The inverse of ``answer``: the function is called again, and the last one gives the class back."""
    name, _ = owner._called_pools.pop((function, count))
    del owner._modules[name]
    if not owner._called_pools:
        del owner._called_pools
        owner.__class__ = type(owner).__base__
