"""Networks of other packages, named as ``package.module.function``."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Callable, Mapping

from torch import nn

from videopool.models.third_party import torchvision_or_placeholder
from videopool.types import InputError


def build_target(target: str, arguments: Mapping[str, object]) -> nn.Module:
    """Call the function (or class) ``target`` with ``arguments`` and return the network that it gives.

    It is imported and run: name only packages that you trust. The network is used as it is: it must take one clip
    tensor [B,3,T,H,W] and give logits [B,K] in training and evaluation mode alike.

    Args:
        target: ``package.module.function``.
        arguments: keyword arguments of the function.

    Raises:
        InputError: when the target cannot be imported, cannot be called, does not take the arguments, or gives
            something else than a ``torch.nn.Module``.
    """
    function = _find(target)
    check_arguments(f"model.target '{target}'", function, arguments)
    network = function(**arguments)
    if not isinstance(network, nn.Module):
        raise InputError(f"model.target '{target}' gave a {type(network).__name__}; expected a torch.nn.Module")
    return network


def check_arguments(what: str, function: Callable[..., object], arguments: Mapping[str, object]) -> None:
    """Refuse arguments that ``function``, called ``what`` in messages, does not take, or required ones that are missing.

    Raises:
        InputError: with the names that it does take.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # Written in C: it has no signature to compare with.
    try:
        signature.bind(**arguments)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "none"
        raise InputError(f"{what} cannot be built: {error}; its arguments are: {known}") from None


def _find(target: str) -> Callable[..., object]:
    module_name, _, function_name = target.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in target.split(".")):
        raise InputError(f"model.target '{target}' is not of the form package.module.function")
    # pytorchvideo names torchvision while it is imported; see third_party.
    needs_torchvision = module_name.partition(".")[0] == "pytorchvideo"
    try:
        with torchvision_or_placeholder() if needs_torchvision else contextlib.nullcontext():
            module = importlib.import_module(module_name)
    except ImportError as error:
        raise InputError(f"model.target '{target}': cannot import {module_name}: {error}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        what = "nothing of that name" if function is None else f"a {type(function).__name__}"
        raise InputError(f"model.target '{target}': {module_name} has {what}; expected a function or class")
    return function
