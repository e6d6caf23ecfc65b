"""Parameters, arithmetic and memory of the networks of the recipes, counted without arithmetic on the meta device."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from videopool.config import load
from videopool.config.shipped import SOFT, shipped_configs
from videopool.engine.builders.parts import build_model
from videopool.pooling.weighted import SoftPool

# Classes of each data set; those of your own videos are an example.
CLASSES = {
    "kinetics400": 400,
    "kinetics600": 600,
    "kinetics700": 700,
    "hacs": 200,
    "moments": 339,
    "ssv2": 174,
    "charades": 157,
    "diving48": 48,
    "ucf101": 101,
    "hmdb51": 51,
    "finetune": 10,
}
_COUNTED = 400  # classes of the network that is counted; other numbers follow from it
PER_CELL = {nn.MaxPool3d: 1, SoftPool: 3}  # as in videopool.pooling.cost: of every cell of every window


class Cost(NamedTuple):
    """What a network costs for one clip.

    Attributes:
        parameters: of the network with ``classes`` classes.
        multiply_adds: of convolutions and linear layers, for a test crop.
        normalized: cells that batch normalizations see, for a test crop.
        pooling: operations of max pooling and SoftPool (``PER_CELL``), for a test crop. Heads do not count.
        kept: bytes of activations, float32, that the backward pass of a training crop needs.
        features: of the classifier.
        classes: K.
    """

    parameters: int
    multiply_adds: int
    normalized: int
    pooling: int
    kept: int
    features: int
    classes: int

    def giga(self, per_cell: int = 0) -> float:
        """Return multiply-adds in 1e9, with ``per_cell`` for each normalized cell."""
        return (self.multiply_adds + per_cell * self.normalized) / 1e9

    def with_classes(self, classes: int) -> Cost:
        """Return the cost of the network with another classifier."""
        more = classes - self.classes
        return self._replace(
            parameters=self.parameters + more * (self.features + 1),
            multiply_adds=self.multiply_adds + more * self.features,
            classes=classes,
        )


def recipes() -> list[str]:
    """Return the names of the recipes for published networks, without their forms with SoftPool."""
    names = [name for name in _shipped() if name.partition("/")[0] in CLASSES and not name.endswith(SOFT)]
    return sorted(names, key=lambda name: ([*CLASSES].index(name.partition("/")[0]), name))


def soft_form(name: str) -> str:
    """Return the name of the recipe with SoftPool; "" if there is none."""
    return f"{name}{SOFT}" if f"{name}{SOFT}" in _shipped() else ""


def cost_of(name: str, crop: int = 0) -> Cost:
    """Return the cost of the network of a recipe, for its data set.

    Args:
        name: of a recipe, with SoftPool or without.
        crop: side of the test crop; 0: that of the recipe.
    """
    names = [each for recipe in recipes() for each in (recipe, soft_form(recipe)) if each]
    same = next(each for each in names if _network(each) == _network(name))  # counted once
    return _cost(same, crop or _config(name).test_crop).with_classes(CLASSES[name.partition("/")[0]])


def count(model: nn.Module, train: torch.Tensor, test: torch.Tensor, classes: int) -> Cost:
    """Return the cost of ``model`` for a clip ``train`` [1,3,T,H,W] and a clip ``test``, both on its device."""
    normalized: list[int] = []
    pooling: list[int] = []

    def note_norm(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        normalized.append(inputs[0].numel())

    def note_pool(module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        sizes = module.kernel_size if isinstance(module.kernel_size, tuple) else (module.kernel_size,) * 3
        pooling.append(PER_CELL[type(module)] * output.numel() * math.prod(sizes))

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm3d)]
    pools = [module for module in model.modules() if type(module) in PER_CELL]
    hooks = [norm.register_forward_pre_hook(note_norm) for norm in norms]
    hooks += [pool.register_forward_hook(note_pool) for pool in pools]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(test)
    for hook in hooks:
        hook.remove()
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    halves = counter.get_total_flops() // 2
    return Cost(
        parameters, halves, sum(normalized), sum(pooling), kept_bytes(model, train), linear[-1].in_features, classes
    )


def kept_bytes(model: nn.Module, clips: torch.Tensor) -> int:
    """Return the bytes of activations that a forward pass of training keeps for the backward pass."""
    own = {tensor.untyped_storage()._cdata for tensor in model.state_dict().values()}
    kept: dict[int, torch.UntypedStorage] = {}  # alive, so that no number occurs twice

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model.train()(clips)
    return sum(storage.nbytes() for storage in kept.values())


_config = functools.cache(load)
_shipped = functools.cache(shipped_configs)


def _network(name: str) -> tuple[object, ...]:
    """Return what a network and its clips depend on, except its classes and the test crop."""
    config = _config(name)
    model, clip = config.model, config.clip
    return model.name, repr(model.arguments), model.pooling, config.train.multigrid, clip.frames, clip.crop


@functools.cache
def _cost(name: str, test_crop: int) -> Cost:
    config = _config(name)
    with torch.device("meta"):
        model, _ = build_model(config, [str(number) for number in range(_COUNTED)])
        train, test = (torch.empty(1, 3, config.clip.frames, side, side) for side in (config.clip.crop, test_crop))
    return count(model, train, test, _COUNTED)
