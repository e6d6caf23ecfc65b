"""Compute ReLU and SoftPool in one pass, which saves writing and reading the largest activation of a stem."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

from torch import nn

from videopool.ops import SoftPool1d, SoftPool2d, SoftPool3d
from videopool.pooling.weighted import SoftPool

_Soft = SoftPool | SoftPool1d | SoftPool2d | SoftPool3d


def fuse_relu(model: nn.Module) -> tuple[str, ...]:
    """Make every SoftPool of ``model`` that directly follows a ReLU apply that ReLU, in place.

    The ReLU becomes an ``nn.Identity``; results, gradients and parameters stay the same, bit for bit. Recognized are
    neighbors in (nested) ``nn.Sequential``, the stem of pytorchvideo's networks, and modules whose class names the two
    in ``relu_then_pool``. Layers with hooks and layers that the model uses in several places are skipped. Swap pools
    before, not after.

    Returns:
        The paths of the pools that now apply a ReLU.
    """
    uses = Counter(id(child) for parent in model.modules() for child in parent._modules.values() if child is not None)
    fused = []
    for path, holder, name, pool in _pairs(model):
        relu = holder._modules[name]
        shared = uses[id(relu)] > 1 or uses[id(pool)] > 1
        if type(relu) is not nn.ReLU or shared or _is_watched(relu) or _is_watched(pool):
            continue
        setattr(holder, name, nn.Identity())
        pool.relu = True
        fused.append(path)
    return tuple(fused)


def _pairs(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, _Soft]]:
    """Yield the path of each SoftPool, the parent and name of the layer before it, and the SoftPool."""
    for path, parent in model.named_modules():
        names = list(parent._modules)
        if type(parent) is nn.Sequential:
            steps = list(itertools.pairwise(names))
        elif type(parent).__name__ == "ResNetBasicStem":  # conv, norm, activation, pool, in this order
            steps = [("activation", "pool")] if {"activation", "pool"} <= set(names) else []
        else:
            named = getattr(type(parent), "relu_then_pool", ())
            steps = [named] if named and set(named) <= set(names) else []
        for before, after in steps:
            pool = parent._modules[after]
            if isinstance(pool, _Soft) and parent._modules[before] is not None:
                holder, name = _last_layer(parent, before)
                yield f"{path}.{after}" if path else after, holder, name, pool


def _last_layer(parent: nn.Module, name: str) -> tuple[nn.Module, str]:
    """Return the parent and name of the last layer of the child ``name``, inside nested ``nn.Sequential``."""
    child = parent._modules[name]
    while type(child) is nn.Sequential and len(child) > 0 and not _is_watched(child):
        parent, name = child, list(child._modules)[-1]
        child = parent._modules[name]
    return parent, name


def _is_watched(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or "forward" in vars(module)
