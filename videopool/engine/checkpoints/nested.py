"""The tensors in nested dictionaries, lists and tuples, such as the state of a training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from typing import Any

import torch

Place = tuple[Hashable, ...]  # keys and indices from the outside in


def map_tensors(function: Callable[[Place, torch.Tensor], Any], value: Any, place: Place = ()) -> Any:
    """Return a copy of ``value`` in which ``function(place, tensor)`` replaces each tensor."""
    if isinstance(value, torch.Tensor):
        return function(place, value)
    if isinstance(value, dict):
        result = copy.copy(value)  # keeps the versions of layers, an attribute of a state dict
        for key, item in value.items():
            result[key] = map_tensors(function, item, (*place, key))
        return result
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(function, item, (*place, i)) for i, item in enumerate(value))
    return value


def named_tensors(value: Any) -> dict[str, torch.Tensor]:
    """Return the tensors in ``value`` by their places, such as ``optimizer/state/0/exp_avg``."""
    found: dict[str, torch.Tensor] = {}
    map_tensors(lambda place, tensor: found.setdefault("/".join(map(str, place)), tensor), value)
    return found
