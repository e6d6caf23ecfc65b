"""Weights, gradients and optimizer state divided among the processes of a run, with torch's ``fully_shard`` (FSDP2).

Each process holds a part of every tensor. A stage of the network is put together for its forward pass and again for its
backward pass (Rajbhandari, Rasley, Ruwase, He, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models",
SC 2020, stage 3; Zhao et al., "PyTorch FSDP", VLDB 2023). Each process writes its parts to checkpoints
(``engine.checkpoints.shards``), which any number of processes can read, sharded or not.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from videopool.engine.cluster.distributed import World
from videopool.errors import InputError

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule

# torch.distributed.fsdp and torch.distributed.tensor take 0.6 s to import, so runs that are not sharded do without.
_FSDP = "torch.distributed.fsdp"


def shard(model: nn.Module, world: World) -> nn.Module:
    """Divide the parameters of ``model``, on its device, among the processes of ``world``; return ``model``.

    Its direct children, or the children of a direct child that is a ``ModuleList``, are put together one at a time.

    Raises:
        InputError: if the model cannot be divided, for example because of a parameter without dimensions.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for parameter in model.parameters():
        parameter.data = parameter.data.contiguous()  # fully_shard takes no other memory order
    mesh = init_device_mesh(world.device.type, (world.size,))
    try:
        for stage in _stages(model):
            fully_shard(stage, mesh=mesh)
        fully_shard(model, mesh=mesh)
    except (ValueError, NotImplementedError) as error:
        raise InputError(f"this network cannot be sharded: {error}", setting="sharding") from error
    return model


def is_sharded(model: nn.Module) -> bool:
    """Return whether ``model`` is divided among processes."""
    return bool(_sharded_parts(model, recurse=False))


def _sharded_parts(model: nn.Module, *, recurse: bool = True) -> list[FSDPModule]:
    if _FSDP not in sys.modules:
        return []
    from torch.distributed.fsdp import FSDPModule

    return [part for part in (model.modules() if recurse else (model,)) if isinstance(part, FSDPModule)]


def _stages(model: nn.Module) -> Iterator[nn.Module]:
    for child in model.children():
        for stage in child.children() if isinstance(child, nn.ModuleList) else (child,):
            if next(stage.parameters(), None) is not None:
                yield stage


@contextlib.contextmanager
def local_gradients(model: nn.Module) -> Iterator[None]:
    """Keep the gradients of a backward pass in the ``with`` block on this process, to be added to those of the next."""
    parts = _sharded_parts(model)
    for part in parts:
        part.set_requires_gradient_sync(False, recurse=False)
    try:
        yield
    finally:
        for part in parts:
            part.set_requires_gradient_sync(True, recurse=False)


@contextlib.contextmanager
def whole_model(model: nn.Module) -> Iterator[None]:
    """Hold the whole of ``model`` on every process in the ``with`` block, which does nothing if it is not sharded.

    All processes must enter and leave the block. Inside, they may run the network different numbers of times.
    """
    parts = _sharded_parts(model)
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for number, part in enumerate(parts):
            part.set_reshard_after_forward(number > 0, recurse=False)  # the default of fully_shard: all but the model
            part.reshard()


def whole(value: torch.Tensor) -> torch.Tensor:
    """Return the whole of a tensor that is divided among processes, on its device; any other tensor unchanged.

    All processes must call this.
    """
    return value.full_tensor() if is_divided(value) else value  # type: ignore[attr-defined,no-any-return]


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """Return the part that this process has of a divided tensor, in the same memory; any other tensor unchanged."""
    return tensor.to_local() if is_divided(tensor) else tensor  # type: ignore[attr-defined,no-any-return]


def is_divided(value: object) -> bool:
    """Return whether ``value`` is a tensor that is divided among processes, a DTensor."""
    return hasattr(value, "full_tensor")


def with_part(tensor: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """Return a tensor that is divided like ``tensor``, with ``part`` as that of this process, on any device."""
    from torch.distributed.tensor import DTensor

    assert isinstance(tensor, DTensor)
    return DTensor(part, tensor._spec, requires_grad=False)


def model_state_for(model: nn.Module, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a state dict of whole tensors, divided as the parameters of ``model`` are.

    A tensor on the meta device becomes one without values, to be read by ``engine.checkpoints.files.read_parts``.
    """
    if not is_sharded(model):
        return state
    like = model.state_dict()
    return {name: _divided(tensor, like[name]) if name in like else tensor for name, tensor in state.items()}


def optimizer_state_for(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Return the state dict of an optimizer, given with whole tensors, divided like its parameters.

    A tensor of the shape of its parameter is divided like it; others stay whole. ``fused`` is that of ``optimizer``.
    A tensor on the meta device becomes one without values, to be read by ``engine.checkpoints.files.read_parts``.
    """
    groups = [
        {**group, "fused": own["fused"]} if "fused" in own else group
        for group, own in zip(state["param_groups"], optimizer.param_groups, strict=False)
    ]
    if len(groups) != len(state["param_groups"]):
        return state  # load_state_dict reports other groups
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in groups for number in group["params"]]
    places = dict(zip(numbers, parameters, strict=False))
    divided = {
        number: {name: _divided_like(item, places.get(number)) for name, item in items.items()}
        for number, items in state["state"].items()
    }
    return {**state, "state": divided, "param_groups": groups}


def _divided_like(item: Any, parameter: torch.Tensor | None) -> Any:
    if parameter is not None and isinstance(item, torch.Tensor) and item.shape == parameter.shape:
        return _divided(item, parameter)
    return torch.empty_like(item, device="cpu") if isinstance(item, torch.Tensor) and item.is_meta else item


def _divided(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if not is_divided(like):
        return tensor
    if tensor.is_meta:
        return torch.empty_like(like, dtype=tensor.dtype, requires_grad=False)
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    # Every process has the whole tensor and takes its part of it.
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
