"""Networks of other packages, named as ``package.module.function``."""

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
    """Call the function (or class) ``target`` with ``arguments`` and return the network that it gives.

    It is imported and run: name only packages that you trust. The network is used as it is: it must take one clip
    tensor [B,3,T,H,W], or images and be handed to ``taking_images``, and give logits [B,K] in training and evaluation
    mode alike.

    Args:
        target: ``package.module.function``.
        arguments: keyword arguments of the function.

    Raises:
        InputError: when the target cannot be imported, cannot be called, does not take the arguments, or gives
            something else than a ``torch.nn.Module``.
    """
    network = call_builder(f"target '{target}'", _find(target), arguments)
    if not isinstance(network, nn.Module):
        raise InputError(
            f"target '{target}' returned a {type(network).__name__}. It must return a torch.nn.Module.",
            setting="target",
        )
    return network


def is_image_network(network: nn.Module) -> bool:
    """Whether ``network`` takes images by its looks: it has 2D convolutions and no 3D one."""
    ranks = {rank for module in network.modules() for kind, rank in _CONVS.items() if isinstance(module, kind)}
    return 2 in ranks and 3 not in ranks


def taking_images(network: nn.Module) -> nn.Module:
    """``network``, which takes images [B,3,H,W], taking clips of one frame [B,3,1,H,W] instead, in place.

    The frame axis is taken off by a hook before its ``forward``, so that no name changes: of parameters, of pooling
    sites, in checkpoints. It raises InputError for clips of more frames.
    """
    network.register_forward_pre_hook(_without_frame_axis)
    return network


def _without_frame_axis(network: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    clips, *others = arguments
    return (frames_as_images(clips), *others)


def call_builder(what: str, function: Callable[..., Built], arguments: Mapping[str, object]) -> Built:
    """``function(**arguments)``, its complaints about the arguments told as the user's.

    Args:
        what: what is built, for messages.
        function: the builder.
        arguments: its keyword arguments.

    Raises:
        InputError: for arguments that it does not take, required ones that are missing, and values that it refuses.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:  # Written in C: there is no signature to compare with.
        signature = inspect.Signature([inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)])
    try:
        signature.bind(**arguments)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "none"
        raise InputError(f"{what} cannot be built: {error}; its arguments are: {known}") from None
    try:
        return function(**arguments)
    except InputError:
        raise
    except (TypeError, ValueError, AssertionError) as error:
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise InputError(f"{what} cannot be built with {given}: {type(error).__name__}: {error}") from error


def _find(target: str) -> Callable[..., object]:
    # pytorchvideo imports torchvision; see third_party.
    needs_torchvision = target.partition(".")[0] == "pytorchvideo"
    with torchvision_or_placeholder() if needs_torchvision else contextlib.nullcontext():
        return import_target(target)
