"""Build networks of other packages, named as ``package.module.function``."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

from videopool.errors import InputError
from videopool.models.third_party import torchvision_or_placeholder
from videopool.models.video_model import frames_as_images
from videopool.targets import import_target

Built = TypeVar("Built")

_CONVS: dict[type[nn.Module], int] = {
    nn.Conv2d: 2, nn.ConvTranspose2d: 2, nn.Conv3d: 3, nn.ConvTranspose3d: 3
}  # fmt: skip


def build_target(target: str, arguments: Mapping[str, object]) -> nn.Module:
    """Call the function or class ``target``, which is imported, with ``arguments`` and return its network.

    Raises:
        InputError: if the target cannot be imported or called, does not take the arguments, or does not return a
            ``torch.nn.Module``.
    """
    network = call_builder(f"Target '{target}'", _find(target), arguments)
    if not isinstance(network, nn.Module):
        raise InputError(
            f"Target '{target}' returned a {type(network).__name__}. It must return a torch.nn.Module.",
            setting="target",
        )
    return network


def is_image_network(network: nn.Module) -> bool:
    """Return whether ``network`` has 2D convolutions but no 3D ones."""
    ranks = {rank for module in network.modules() for kind, rank in _CONVS.items() if isinstance(module, kind)}
    return 2 in ranks and 3 not in ranks


def taking_images(network: nn.Module) -> nn.Module:
    """Make ``network``, which takes images [B,3,H,W], take clips of one frame [B,3,1,H,W], in place, and return it.

    A hook removes the frame axis before ``forward``, so that no name of a parameter or pooling site changes. It raises
    InputError for clips of more frames.
    """
    network.register_forward_pre_hook(_without_frame_axis)
    return network


def _without_frame_axis(network: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    clips, *others = arguments
    return (frames_as_images(clips), *others)


def call_builder(what: str, function: Callable[..., Built], arguments: Mapping[str, object]) -> Built:
    """Return ``function(**arguments)``; ``what`` names the network in errors.

    Raises:
        InputError: for unknown or missing arguments, and for values for which the function raises TypeError, ValueError
            or AssertionError.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:  # a function written in C has no signature
        signature = inspect.Signature([inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)])
    try:
        signature.bind(**arguments)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "none"
        raise InputError(f"{what} cannot be built: {error}. Its arguments: {known}.", setting="arguments") from None
    try:
        return function(**arguments)
    except InputError:
        raise
    except (TypeError, ValueError, AssertionError) as error:
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise InputError(
            f"{what} cannot be built with {given}: {type(error).__name__}: {error}", setting="arguments"
        ) from error


def _find(target: str) -> Callable[..., object]:
    # pytorchvideo imports torchvision; see third_party.
    needs_torchvision = target.partition(".")[0] == "pytorchvideo"
    with torchvision_or_placeholder() if needs_torchvision else contextlib.nullcontext():
        return import_target(target)
