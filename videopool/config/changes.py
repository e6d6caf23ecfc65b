"""Differences between two configurations."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from videopool.config.loading import to_plain
from videopool.config.schema import Config

_LISTED = 4


def differences(old: Config, new: Config, *, ignore: Collection[str]) -> list[str]:
    """Return the keys that differ, as in "optim.lr was 0.1, now 0.2", except those in ``ignore``."""
    return _differences(to_plain(old), to_plain(new), "", ignore)


def list_differences(changed: Sequence[str]) -> str:
    """Return the first few results of ``differences`` and the number of the others, as in "...; ...; and 3 more"."""
    more = len(changed) - _LISTED
    return "; ".join([*changed[:_LISTED], *([f"and {more} more"] if more > 0 else [])])


def _differences(old: Any, new: Any, dotted: str, ignore: Collection[str]) -> list[str]:
    if dotted in ignore or old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        prefix = f"{dotted}." if dotted else ""
        keys = dict.fromkeys([*old, *new])
        return [text for key in keys for text in _differences(old.get(key), new.get(key), prefix + key, ignore)]
    return [f"{dotted} was {_shown(old)}, now {_shown(new)}"]


def _shown(value: Any) -> str:
    return "not set" if value is None or value == "" else str(value)
