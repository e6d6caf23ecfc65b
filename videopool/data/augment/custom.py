"""A user's function as an augmentation."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from videopool.errors import InputError
from videopool.types import Place


@dataclasses.dataclass(frozen=True)
class CustomAugmentation:
    """Call ``function(clips, generator, **arguments)`` for every batch.

    ``clips`` is uint8 [B,3,T,H,W] on the device that trains. ``generator`` is a ``torch.Generator`` that is always on
    the CPU, so that a seed gives the same numbers for every device; move the numbers to ``clips.device``. The function
    returns uint8 clips of the same shape on the same device. It may change ``clips`` in place.

    Attributes:
        function: the user's function.
        arguments: further keyword arguments for it.
        name: of the function in errors; its own name by default.

    Raises:
        InputError: if ``function`` does not take these arguments.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, object] = dataclasses.field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", getattr(self.function, "__qualname__", repr(self.function)))
        try:
            signature = inspect.signature(self.function)
        except ValueError:  # written in C, without a signature
            return
        try:
            signature.bind(None, None, **self.arguments)
        except TypeError as error:
            raise InputError(
                f"The augmentation {self.name} cannot be called as (clips, generator, **arguments) with the arguments "
                f"{dict(self.arguments)}: {error}. Its signature is {signature}.",
                setting="augment_arguments",
            ) from None

    def __call__(self, clips: torch.Tensor, rng: np.random.Generator, place: Place | None = None) -> torch.Tensor:
        """Return the result of the function for uint8 ``clips`` [B,3,T,H,W]. Its generator depends on ``place``.

        Raises:
            InputError: if it is not a uint8 tensor of the shape of ``clips`` on their device.
        """
        expected = (torch.uint8, clips.shape, clips.device)
        generator = torch.Generator().manual_seed((int(rng.integers(2**63)) + (place.first if place else 0)) % 2**63)
        result = self.function(clips, generator, **self.arguments)
        if not isinstance(result, torch.Tensor) or (result.dtype, result.shape, result.device) != expected:
            raise InputError(
                f"The augmentation {self.name} returned {_describe(result)}. It must return uint8 clips of the shape "
                f"that it was given, {list(expected[1])}, on {expected[2]}.",
                setting="augment_target",
            )
        return result


def _describe(value: object) -> str:
    if not isinstance(value, torch.Tensor):
        return "nothing" if value is None else f"a {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)} on {value.device}"
