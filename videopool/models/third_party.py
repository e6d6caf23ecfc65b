"""Import pytorchvideo where torchvision is missing or cannot be loaded.

pytorchvideo 0.1.5 imports ``torchvision.ops.RoIAlign`` for its detection heads, which videopool does not use, and a
torchvision built for another torch fails to load. While pytorchvideo is imported, a placeholder in ``sys.modules``
replaces a torchvision that cannot be imported.
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
    """Import and return the module ``pytorchvideo.<module>``, with or without torchvision.

    Raises:
        InputError: if pytorchvideo is not installed.
    """
    try:
        with torchvision_or_placeholder():
            return importlib.import_module(f"pytorchvideo.{module}")
    except ModuleNotFoundError as error:
        raise InputError(
            f"This model needs pytorchvideo, but the package '{error.name}' is not installed. "
            "Run: pip install 'videopool[train]'"
        ) from error


@contextlib.contextmanager
def torchvision_or_placeholder() -> Iterator[None]:
    """Return a context in which ``import torchvision.ops`` gives the real package or a temporary placeholder."""
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
    # A torchvision built for another torch raises OSError, RuntimeError (an unknown operator), ...
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
    """A placeholder for ``torchvision.ops.RoIAlign``, a default argument in pytorchvideo."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise ImportError("detection heads of pytorchvideo need a torchvision that matches the installed torch")
