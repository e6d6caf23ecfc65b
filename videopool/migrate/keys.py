"""The keys of another package's configuration: read one by one, with defaults, so that none is forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from videopool.errors import InputError


class Keys:
    """Dotted keys and their values, which remember what was read.

    Args:
        given: the values in the file.
        where: the place of each key in the file, for errors.
        defaults: the values of keys that are not in the file.
    """

    def __init__(
        self, given: Mapping[str, Any], *, where: Mapping[str, str], defaults: Mapping[str, Any] | None = None
    ) -> None:
        self._given = given
        self._where = where
        self._defaults = defaults or {}
        self._read: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._given

    def take(self, key: str, default: Any = None) -> Any:
        """Return the value of ``key``, or its default, and remember that it was read.

        Raises:
            InputError: if the value has another type than the default.
        """
        self._read.add(key)
        default = self._defaults.get(key, default)
        value = self._given.get(key)
        if value is None:
            return default
        if not _fits(value, default):
            raise InputError(f"{self.place(key)}{key}: expected {_words(default)}, got {value!r}")
        return value

    def below(self, prefix: str) -> dict[str, Any]:
        """Return the keys that start with ``prefix``, without it, and remember that they were read."""
        found = {key: value for key, value in self._given.items() if key.startswith(prefix)}
        self._read |= found.keys()
        return {key.removeprefix(prefix): value for key, value in found.items()}

    def place(self, key: str) -> str:
        """Return where ``key`` is, as the beginning of an error: "FILE line 3: "."""
        return f"{self._where[key]}: " if key in self._where else ""

    def unread(self) -> Iterator[tuple[str, Any]]:
        """Yield the keys of the file that were not read, and their values."""
        return ((key, value) for key, value in self._given.items() if key not in self._read)


def _fits(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    for kinds in ((int,), (int, float), (list, tuple), (str,), (dict,)):
        if isinstance(default, kinds):
            return isinstance(value, kinds)
    return True


def _words(default: Any) -> str:
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list"}
    return kinds.get(type(default), "a list" if isinstance(default, tuple) else "a group of keys")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one with dotted keys; lists and empty dictionaries stay values."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
