"""Configuration: frozen dataclasses (``schema``) filled from YAML files and dotted overrides (``load``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videopool.lazy import lazy_names

if TYPE_CHECKING:
    from videopool.config.changes import differences
    from videopool.config.loading import dump, from_plain, load, to_plain
    from videopool.config.schema import Config

_NAMES = {
    "videopool.config.changes": ("differences",),
    "videopool.config.loading": ("dump", "from_plain", "load", "to_plain"),
    "videopool.config.schema": ("Config",),
}

__all__ = ["Config", "differences", "dump", "from_plain", "load", "to_plain"]

__getattr__, __dir__ = lazy_names(__name__, _NAMES)
