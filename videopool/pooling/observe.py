"""Observe one forward pass of an example: the input shape and order of every layer, and pools called as functions.

The pass runs in evaluation mode on a copy whose tensors are on the meta device: no arithmetic, no memory. A network
that does not run there (its forward reads values) runs for real, on a copy that shares the parameters and has its own
buffers. Either way the network itself, its modes, its hooks and the random generators do not change.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from videopool.errors import InputError
from videopool.pooling.called import (
    FUNCTIONS,
    PoolCall,
    called_path,
    function_name,
    ignoring_called_pools,
    running_module,
)

_GATES = ("sigmoid", "hardsigmoid", "sigmoid_", "hardsigmoid_")


@dataclasses.dataclass
class Observed:
    """The observations of one pass.

    Attributes:
        inputs: by path, the shapes of the first input tensor, one for each time that the layer or call ran.
        order: by path, the position in the sequence of the pass; of several, the last.
        calls: by path ``<module>:<function>[k]``, the pool that was called there.
        totals: by module path and function, the largest number of calls that one run of the module's forward made.
        gates: paths of the modules whose own forward calls a sigmoid.
        steps: how many layers and calls have run.
    """

    inputs: dict[str, list[tuple[int, ...]]] = dataclasses.field(default_factory=dict)
    order: dict[str, int] = dataclasses.field(default_factory=dict)
    calls: dict[str, PoolCall] = dataclasses.field(default_factory=dict)
    totals: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    gates: set[str] = dataclasses.field(default_factory=set)
    steps: int = 0

    def enter(self, path: str, shape: tuple[int, ...]) -> None:
        """Record that a tensor of ``shape`` entered the layer or the call at ``path``."""
        self.inputs.setdefault(path, []).append(shape)
        self.steps += 1
        self.order[path] = self.steps


def observe(model: nn.Module, example: Any) -> Observed:
    """Run ``example`` through ``model`` and return the observations.

    Args:
        model: any network; it is not changed.
        example: its input: a tensor, or a tuple of its positional inputs. Only shapes and dtypes matter, so a tensor on
            the meta device is enough.

    Raises:
        InputError: if the network does not run on the example; the message has the layer and its error.
    """
    with ignoring_called_pools():
        return run_example(model, example, _watched)


def run_example(model: nn.Module, example: Any, run: Callable[[nn.Module, tuple[Any, ...]], Any]) -> Any:
    """Return ``run(copy of model in evaluation mode, inputs)`` without gradients, on the meta device if possible.

    Raises:
        InputError: if the network does not run on the example.
    """
    inputs = example if isinstance(example, tuple) else (example,)
    if any(is_lazy(tensor) for tensor in _tensors(model)):
        raise InputError("The model has lazy layers that have not seen an input yet. Run it on a batch first.")
    with torch.no_grad(), _random_state_kept(model):
        with contextlib.suppress(Exception):  # a forward may raise anything on the meta device
            return run(_copy(model, "meta"), _moved(inputs, torch.device("meta")))
        with _real(model) as real:
            try:
                return run(real, _moved(inputs, _device(model)))
            except Exception as error:
                raise _misfit(real, inputs, error) from error


def _watched(model: nn.Module, inputs: tuple[Any, ...]) -> Observed:
    observed, paths = Observed(), {id(module): path for path, module in model.named_modules()}
    watch = _Watch(observed, paths)
    handles = []
    try:
        for module in model.modules():
            if not isinstance(module, torch.jit.ScriptModule):
                handles.append(module.register_forward_pre_hook(watch.entered, with_kwargs=True))
        with watch:
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return observed


class _Watch(TorchFunctionMode):
    """Record every layer that runs and every pooling function that a layer's own forward calls."""

    def __init__(self, observed: Observed, paths: dict[int, str]) -> None:
        super().__init__()
        self.observed, self.paths = observed, paths
        self.counts: dict[tuple[str, str], int] = {}

    def entered(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forward pre-hook of every module; restarts the count of its calls."""
        path = self.paths[id(module)]
        for key in [key for key in self.counts if key[0] == path]:
            del self.counts[key]
        first = next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)
        if first is not None:
            self.observed.enter(path, tuple(first.shape))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function_name(func)
        if name in FUNCTIONS or name in _GATES:
            module, checkpointed = running_module()
            path = self.paths.get(id(module))
            if path is not None and not checkpointed:
                self._called(path, name, args, kwargs)
        return func(*args, **kwargs)

    def _called(self, path: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name in _GATES:
            self.observed.gates.add(path)
            return
        count = self.counts.get((path, name), 0)
        self.counts[path, name] = count + 1
        self.observed.totals[path, name] = max(count + 1, self.observed.totals.get((path, name), 0))
        call = PoolCall.read(name, args, kwargs)
        if call is not None:
            where = called_path(path, name, count)
            self.observed.calls.setdefault(where, call)
            self.observed.enter(where, tuple(call.shape))


def _copy(model: nn.Module, device: str | None) -> nn.Module:
    """Return a copy in evaluation mode: on ``device``, or, if None, sharing the parameters of the model."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        kept = [*module._parameters.values(), *(module._buffers.values() if device else ())]
        loose = [value for value in vars(module).values() if isinstance(value, torch.Tensor)]
        for tensor in filter(lambda value: value is not None, [*kept, *loose]):
            memo[id(tensor)] = tensor if device is None else _elsewhere(tensor, device)
    return copy.deepcopy(model, memo).eval()


def _elsewhere(tensor: Any, device: str) -> torch.Tensor:
    moved = torch.empty_like(tensor, device=device, requires_grad=False)
    return nn.Parameter(moved, requires_grad=False) if isinstance(tensor, nn.Parameter) else moved


@contextlib.contextmanager
def _real(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a network to run for real: a copy of ``model``, or ``model`` itself if it cannot be copied."""
    try:
        real = _copy(model, None)
    except Exception:  # a module may hold a lock, a file or another object that cannot be copied
        real = model
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()] if real is model else []
    try:
        yield real.eval()
    finally:
        for module, training in modes:
            module.training = training
        for buffer, value in buffers:
            buffer.copy_(value)


@contextlib.contextmanager
def _random_state_kept(model: nn.Module) -> Iterator[None]:
    devices = sorted({tensor.device.index or 0 for tensor in _tensors(model) if tensor.is_cuda})
    with torch.random.fork_rng(devices=devices, device_type="cuda") if devices else torch.random.fork_rng(devices=[]):
        yield


def _tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _device(model: nn.Module) -> torch.device:
    return next((tensor.device for tensor in _tensors(model)), torch.device("cpu"))


def _moved(inputs: tuple[Any, ...], device: torch.device) -> tuple[Any, ...]:
    """Return the inputs on ``device``, with zeros in place of tensors without values."""

    def move(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_meta and device.type != "meta":
            return torch.zeros_like(tensor, device=device)
        return tensor.detach().to(device)

    moved: tuple[Any, ...] = tree_map_only(torch.Tensor, move, inputs)
    return moved


def _misfit(model: nn.Module, inputs: tuple[Any, ...], error: Exception) -> InputError:
    """Return the error of a network that does not run on an example, with the layer that raised it."""
    shapes = tree_map_only(torch.Tensor, lambda tensor: list(tensor.shape), inputs if len(inputs) > 1 else inputs[0])
    paths, where, trace = {id(module): path for path, module in model.named_modules()}, "", error.__traceback__
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        if frame.f_code is nn.Module._call_impl.__code__:
            where = paths.get(id(frame.f_locals["self"])) or where
    words = (str(error).strip() or type(error).__name__).partition("\n")[0]
    at = f", at '{where}'" if where else ""
    return InputError(f"The model does not run on an example of shape {shapes}{at}: {words}")
