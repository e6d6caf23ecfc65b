"""Load YAML files and overrides into a ``Config``. Errors name the file, line, key and expected value."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from videopool.config.keys import is_union, keys_of, words
from videopool.config.renamed import RENAMED
from videopool.config.schema import Config
from videopool.config.section import Plain, Target
from videopool.config.shipped import find_config
from videopool.config.tree import Value, mark, merge, parse_override, read_tree
from videopool.errors import InputError, did_you_mean


def load(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of a file (with its ``base`` files), changed by ``key=value`` overrides.

    Args:
        path: a file, or the name of a shipped configuration such as ``small/c3d``; None: all defaults.
        overrides: texts such as ``optim.lr=0.1``; later ones win.

    Raises:
        InputError: for a file that cannot be read, an unknown key (with a suggestion), a value of the wrong type or
            range, or a key that is given twice.
    """
    tree = read_tree(find_config(path)) if path else {}
    for item in overrides:
        merge(tree, parse_override(item))
    return build(Config, tree, "")


def dump(config: Config) -> str:
    """Return the whole configuration as YAML, from which ``load`` returns an equal one."""
    return yaml.safe_dump(to_plain(config), sort_keys=False, default_flow_style=None, width=100)


def to_plain(config: Config) -> Plain:
    """Return the configuration as nested dictionaries, lists and scalars, as checkpoints hold it."""
    return _listed(dataclasses.asdict(config))


def from_plain(tree: Plain, where: str, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of a result of ``to_plain``, changed by overrides. ``where`` is its source in errors."""
    marked = mark(tree, where)
    for item in overrides:
        merge(marked, parse_override(item))
    return build(Config, marked, "")


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, (tuple, list)) else value


def build(cls: Any, tree: Any, dotted: str) -> Any:
    """Return the section ``cls`` with the values of ``tree``; ``dotted`` is its name in errors.

    Raises:
        InputError: for an unknown key (with a suggestion) or a value of the wrong type, choice or range.
    """
    if not isinstance(tree, dict):
        raise InputError(f"{tree.where}: {dotted}: expected keys {', '.join(_names(cls))}, got {tree.value!r}")
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in tree.items():
        name = f"{dotted}.{key}" if dotted else str(key)
        if key not in hints:
            raise InputError(_unknown(cls, name, key, value))
        values[key] = _coerce(hints[key], value, name)
    try:
        return cls(**values)
    except InputError as error:
        value = tree.get(error.setting)
        where = f"{value.where}: " if isinstance(value, Value) else ""
        raise InputError(f"{where}{dotted + '.' if dotted else ''}{error}") from error


def first_leaf(tree: Any) -> tuple[str, str]:
    """Return the dotted path of the first value of ``tree``, and where it was written."""
    below = ""
    while isinstance(tree, dict) and tree:
        key = next(iter(tree))
        below, tree = f"{below}.{key}", tree[key]
    return below, tree.where if isinstance(tree, Value) else "config"


def _unknown(cls: type, dotted: str, key: str, value: Any) -> str:
    below, where = first_leaf(value)
    for candidate in (dotted + below, dotted):
        if candidate in RENAMED:
            return (
                f"{where}: {candidate} is a key of PySlowFast; here: {RENAMED[candidate]}. videopool migrate FILE "
                "converts a whole file."
            )
    prefix = dotted[: len(dotted) - len(key)]
    known = [each.name for each in keys_of(Config)]
    first = [name for name in known if name.rpartition(".")[2] == key]
    first = first or [prefix + name for name in difflib.get_close_matches(key, _names(cls), n=1)]
    hint = did_you_mean(dotted, known, first=first, cutoff=0.5)
    names = ", ".join(prefix + name for name in _names(cls))
    return f"{where}: unknown key {dotted!r}. {hint or f'Known here: {names}.'}"


def _coerce(hint: Any, value: Any, dotted: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return build(hint, value, dotted)
    if typing.get_origin(hint) is dict:
        if isinstance(value, dict):
            return _unmark(value)
        if value.value is None or value.value == {}:
            return {}
    if isinstance(value, dict):
        raise InputError(f"{first_leaf(value)[1]}: {dotted}: expected {_expected(hint)}, got a group of keys")
    if hint is str and value.text is not None and value.value is not None:
        return value.text
    return _plain(hint, value.value, dotted, value.where)


def _unmark(tree: Any) -> Any:
    return {k: _unmark(v) for k, v in tree.items()} if isinstance(tree, dict) else tree.value


def _plain(hint: Any, value: Any, dotted: str, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal and any(value == arg and type(value) is type(arg) for arg in args):
        return value
    if hint is Target and isinstance(value, str) and "." in value:
        return value
    if is_union(hint):
        for each in args:
            with contextlib.suppress(InputError):
                return _plain(each, value, dotted, where)
    if origin is tuple and isinstance(value, list):
        if args[-1] is Ellipsis or len(args) == len(value):
            return tuple(_plain(args[0], item, f"{dotted}[{i}]", where) for i, item in enumerate(value))
    elif hint is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        number = _number(value)
        if number is not None:
            return number
    elif hint is str and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    elif type(value) is hint:
        return value
    advice = did_you_mean(str(value), _choices(hint), cutoff=0.7)  # gpu is not cpu
    raise InputError(f"{where}: {dotted}: expected {_expected(hint)}, got {value!r}{advice and f'. {advice}'}")


def _choices(hint: Any) -> list[str]:
    """Return the texts that ``hint`` allows, if it is a choice of texts."""
    if is_union(hint):
        return [choice for each in typing.get_args(hint) for choice in _choices(each)]
    return [*map(str, typing.get_args(hint))] if typing.get_origin(hint) is Literal else []


def _number(value: float | str) -> float | None:
    """Return a finite number or None. YAML 1.1 reads 1e-4 as text, which is accepted."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _expected(hint: Any) -> str:
    if is_union(hint):
        return " or ".join(map(_expected, typing.get_args(hint)))
    article = "one of " if typing.get_origin(hint) is Literal else "" if hint in (bool, str, Target) else "a "
    return article + words(hint)


def _names(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]
