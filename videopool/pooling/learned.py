"""Own arguments of methods: checked, and fixed or learned, for the whole layer or for each channel."""

from __future__ import annotations

import numbers

import torch
from torch import nn

from videopool.errors import InputError
from videopool.pooling.base import Pool

LEARNED = ("none", "shared", "channel")


def check_number(pool: Pool, name: str, value: object) -> float:
    """An own argument ``name`` of ``pool`` as a float.

    Raises:
        InputError: for what is no number.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InputError(f"{name} {value!r} of '{pool.method}' pooling is not a number, such as 2.0")
    return float(value)


def check_flag(pool: Pool, name: str, value: object) -> bool:
    """An own argument ``name`` of ``pool`` that is True or False.

    Raises:
        InputError: for anything else: a text such as "no" would count as True.
    """
    if not isinstance(value, bool):
        raise InputError(f"{name} {value!r} of '{pool.method}' pooling is neither True nor False")
    return value


def check_learned(pool: Pool, learned: str, known: tuple[str, ...] = LEARNED) -> str:
    """``learned``, refused where it is none of ``known``, or asks for a parameter of each of unknown channels.

    Raises:
        InputError: for either.
    """
    if learned not in known:
        expected = ", ".join(f"'{word}'" for word in known)
        raise InputError(f"learned {learned!r} of '{pool.method}' pooling is unknown; give one of {expected}")
    if learned == "channel":
        pool._required_channels()
    return learned


def parameter_of(pool: Pool, learned: str, value: float, shape: tuple[int, ...] = ()) -> nn.Parameter:
    """A parameter [*shape], or [C,*shape] for ``learned="channel"``, full of ``value``."""
    channels = (pool._required_channels(),) if learned == "channel" else ()
    return nn.Parameter(torch.full((*channels, *shape), value, dtype=torch.get_default_dtype()))


def along_channels(parameter: torch.Tensor, axes: int) -> torch.Tensor:
    """A parameter [] as it is, one [C] with ``axes`` axes behind: it broadcasts against [B,C,...] and [C,...]."""
    return parameter if parameter.dim() == 0 else parameter.view(-1, *(1,) * axes)
