"""Configuration: frozen dataclasses (``schema``) filled from YAML files and dotted overrides (``load``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videopool.lazy import lazy_names

if TYPE_CHECKING:
    from videopool.config.changes import differences as differences
    from videopool.config.changes import list_differences as list_differences
    from videopool.config.loading import dump as dump
    from videopool.config.loading import from_plain as from_plain
    from videopool.config.loading import load as load
    from videopool.config.loading import to_plain as to_plain
    from videopool.config.schema import Config as Config

__getattr__, __dir__, __all__ = lazy_names(__name__)
