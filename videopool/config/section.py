"""What a section of a configuration is made of: keys with a default, a description and a range."""

from __future__ import annotations

import dataclasses
from typing import Any, NewType

from videopool.errors import InputError
from videopool.ranges import Range

Plain = dict[str, Any]
Target = NewType("Target", str)  # package.module.name


def key(default: Any, about: str, allowed: Range | None = None) -> Any:
    """Return a field of a section: its default, what it means, and the range that each of its numbers must be in."""
    values: dict[str, Any] = {"default": default}
    if isinstance(default, dict):
        values = {"default_factory": default.copy}
    return dataclasses.field(**values, metadata={"about": about, "range": allowed})


def section(kind: type) -> Any:
    """Return a field that holds a section."""
    return dataclasses.field(default_factory=kind)


def require(condition: bool, message: str, name: str = "") -> None:
    """Raise ``InputError`` with ``message`` about the key ``name`` unless ``condition`` holds.

    Messages begin with ``name``, to which ``load`` adds the section.
    """
    if not condition:
        raise InputError(message, setting=name)


class Section:
    """A group of keys, which checks their ranges and then calls ``check``."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            allowed = field.metadata.get("range")
            if allowed is not None:
                allowed.check(field.name, getattr(self, field.name))
        self.check()

    def check(self) -> None:
        """Raise ``InputError`` for keys that do not fit together."""
