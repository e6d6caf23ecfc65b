"""Check a method's own arguments, and create its learned ones, for the whole layer or for each channel."""

from __future__ import annotations

import numbers

import torch
from torch import nn

from videopool.errors import InputError
from videopool.pooling.base import Pool

LEARNED = ("none", "shared", "channel")


def check_number(pool: Pool, name: str, value: object) -> float:
    """Return the own argument ``name`` of ``pool`` as a float.

    Raises:
        InputError: if it is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InputError(f"{name}={value!r} of '{pool.method}' pooling must be a number, such as 2.0")
    return float(value)


def check_flag(pool: Pool, name: str, value: object) -> bool:
    """Return the own argument ``name`` of ``pool``, which must be True or False.

    Raises:
        InputError: for anything else; a text such as "no" would count as True.
    """
    if not isinstance(value, bool):
        raise InputError(f"{name}={value!r} of '{pool.method}' pooling must be True or False")
    return value


def check_learned(pool: Pool, learned: str, known: tuple[str, ...] = LEARNED) -> str:
    """Return ``learned`` if it is one of ``known``.

    Raises:
        InputError: for another value, and for parameters for each of an unknown number of channels.
    """
    if learned not in known:
        expected = ", ".join(f"'{word}'" for word in known)
        raise InputError(f"learned={learned!r} of '{pool.method}' pooling must be one of {expected}")
    if learned == "channel":
        pool._required_channels()
    return learned


def parameter_of(pool: Pool, learned: str, value: float, shape: tuple[int, ...] = ()) -> nn.Parameter:
    """Return a parameter [*shape], or [C,*shape] for ``learned="channel"``, filled with ``value``."""
    channels = (pool._required_channels(),) if learned == "channel" else ()
    return nn.Parameter(torch.full((*channels, *shape), value, dtype=torch.get_default_dtype()))


def along_channels(parameter: torch.Tensor, axes: int) -> torch.Tensor:
    """Return a parameter [] unchanged, or [C] with ``axes`` more axes, to broadcast with [B,C,...] and [C,...]."""
    return parameter if parameter.dim() == 0 else parameter.view(-1, *(1,) * axes)
