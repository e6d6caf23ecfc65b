"""Names of a package that are imported at their first use, so that importing the package is quick."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path


def lazy_names(package: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return the ``__getattr__``, ``__dir__`` and ``__all__`` of a package.

    The names are those that its ``__init__.py`` imports under ``if TYPE_CHECKING:`` as ``from module import Name as
    Name``, which type checkers read as public. They are in no other place.

    Args:
        package: its ``__name__``.
    """
    tree = ast.parse(Path(sys.modules[package].__file__ or "").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    lines = [line for line in block.body if isinstance(line, ast.ImportFrom) and line.module]
    place = {alias.name: line.module for line in lines for alias in line.names}

    def getattr_(name: str) -> object:
        if name not in place:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(str(place[name])), name)
        setattr(sys.modules[package], name, value)
        return value

    return getattr_, lambda: sorted({*vars(sys.modules[package]), *place}), sorted(place)
