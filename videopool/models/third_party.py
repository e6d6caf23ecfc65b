"""Importing pytorchvideo where torchvision is absent or cannot be loaded.

pytorchvideo 0.1.5 imports ``torchvision.ops.RoIAlign`` for its detection heads, which videopool does not use, and a
torchvision built for another torch fails while loading. A placeholder stands in for it during the import of
pytorchvideo only, and only where the real one cannot be imported; ``sys.modules`` is left without a trace of it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import sys
import types
from collections.abc import Iterator

from videopool.errors import InputError

_TORCHVISION = ("torchvision", "torchvision.ops")


def pytorchvideo(module: str) -> types.ModuleType:
    """The module ``pytorchvideo.<module>``, imported with or without torchvision.

    Raises:
        InputError: where pytorchvideo is not installed.
    """
    try:
        with torchvision_or_placeholder():
            return importlib.import_module(f"pytorchvideo.{module}")
    except ModuleNotFoundError as error:
        raise InputError(
            f"this model is built by pytorchvideo, but the package '{error.name}' is not installed; "
            "install it with: pip install 'videopool[train]'"
        ) from error


@contextlib.contextmanager
def torchvision_or_placeholder() -> Iterator[None]:
    """Within the block ``import torchvision.ops`` works: the real one, or else a placeholder that is gone after it."""
    if _torchvision_loads():
        yield
        return
    for name in _TORCHVISION:
        sys.modules[name] = _placeholder(name)
    try:
        yield
    finally:
        for name in _TORCHVISION:
            sys.modules.pop(name, None)


def _torchvision_loads() -> bool:
    before = set(sys.modules)
    try:
        importlib.import_module("torchvision.ops")
    # A torchvision built for another torch fails in many ways: OSError, RuntimeError (an unknown operator), ...
    except Exception:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "torchvision":
                del sys.modules[name]
        return False
    return True


def _placeholder(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)
    vars(module)["RoIAlign"] = _RoIAlign
    module.__path__ = []
    return module


class _RoIAlign:
    """Stands where pytorchvideo names ``torchvision.ops.RoIAlign`` as a default argument."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise ImportError("detection heads of pytorchvideo need a torchvision that matches the installed torch")
