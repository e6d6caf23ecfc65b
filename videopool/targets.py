"""Functions and classes of other packages, named as ``package.module.function``. This module does not import torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from videopool.errors import InputError, did_you_mean


def import_target(target: str, *, setting: str = "target") -> Callable[..., Any]:
    """Import a module and return the function or class of it that ``target`` names.

    The module runs as it is imported, so name only packages that you trust.

    Args:
        target: ``package.module.function``.
        setting: the setting that errors carry.

    Raises:
        InputError: if ``target`` has another form, its module cannot be imported, or the module has no such function.
    """
    module_name, _, name = target.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in target.split(".")):
        raise InputError(f"{setting}={target!r} must have the form package.module.function", setting=setting)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == module_name.partition(".")[0]
        advice = f". Install {error.name}, or add the folder that contains it to PYTHONPATH." if missing else ""
        raise InputError(
            f"{setting}={target!r}: cannot import {module_name}: {error}{advice}", setting=setting
        ) from error
    if not hasattr(module, name):
        advice = did_you_mean(name, dir(module))
        raise InputError(
            f"{setting}={target!r}: {module_name} has no attribute {name!r}. {advice}".rstrip(), setting=setting
        )
    function = getattr(module, name)
    if not callable(function):
        kind = type(function).__name__
        raise InputError(f"{setting}={target!r} is a {kind}, not a function or class", setting=setting)
    return function
