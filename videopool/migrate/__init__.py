"""Configurations of other packages (PySlowFast, mmaction2) as configurations of videopool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videopool.lazy import lazy_names

if TYPE_CHECKING:
    from videopool.migrate.draft import Draft as Draft
    from videopool.migrate.read import read as read

__getattr__, __dir__, __all__ = lazy_names(__name__)
