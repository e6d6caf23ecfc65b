"""The keys of a configuration as data, and their types in words."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, Union

from videopool.config.section import Target
from videopool.ranges import Range

_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text", dict: "group of keys"}
_WORDS[Target] = "package.module.name"


@dataclasses.dataclass(frozen=True)
class Key:
    """One key: its dotted name, type, default, range and meaning."""

    name: str
    hint: Any
    default: Any
    allowed: Range | None
    about: str

    @property
    def values(self) -> str:
        """The allowed values in words."""
        limits = f", {self.allowed}" if self.allowed else ""
        return f"{words(self.hint)}{limits}"

    @property
    def default_text(self) -> str:
        """The default as it is written in a file."""
        plain = list(self.default) if isinstance(self.default, tuple) else self.default
        if isinstance(plain, list):
            return "[" + ", ".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in plain) + "]"
        return '""' if plain == "" else json.dumps(plain)

    def __str__(self) -> str:
        return f"{self.name}\n  {self.about}\n  values: {self.values}\n  default: {self.default_text}"


def keys_of(section: type, prefix: str = "") -> Iterator[Key]:
    """Yield the keys of ``section`` and of the sections in it, in their order; ``prefix`` is put before the names."""
    hints = typing.get_type_hints(section)
    for field in dataclasses.fields(section):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from keys_of(typing.cast(type, hint), f"{prefix}{field.name}.")
        elif "about" in field.metadata:
            default = field.default if field.default is not dataclasses.MISSING else {}
            about, allowed = field.metadata["about"], field.metadata["range"]
            yield Key(prefix + field.name, hint, default, allowed, about)


def words(hint: Any) -> str:
    """Return a type in words, such as ``list of 2 values (number)``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin is tuple:
        count = "list" if arguments[-1] is Ellipsis else f"list of {len(arguments)} values"
        return f"{count} ({words(arguments[0])})"
    if is_union(hint):
        return " or ".join(map(words, arguments))
    return _WORDS[origin or hint]


def is_union(hint: Any) -> bool:
    """Return whether a type is a union of others."""
    return typing.get_origin(hint) in (Union, types.UnionType)
