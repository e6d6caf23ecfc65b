"""YAML files and dotted overrides into a ``Config``, with errors that name file, line, key and what was expected."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Union

import yaml

from videopool.config.renamed import RENAMED
from videopool.config.schema import Config, Plain
from videopool.errors import InputError

# Keys that may stand alone on the command line.
SHORT = {"resume": "train.resume"}


@dataclasses.dataclass(frozen=True)
class _Value:
    """A leaf of a configuration tree, where it was written, and, of a scalar, the text that was written.

    YAML reads 010 as 8 and 12:30 as 750: a key whose type is text takes the text.
    """

    value: Any
    where: str
    text: str | None = None


_Tree = dict[str, Any]  # str -> _Tree | _Value


def load(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """The configuration of the file at ``path`` (with its ``base`` files), changed by ``key=value`` overrides.

    Raises ``InputError`` for a file that cannot be read, an unknown key (naming the nearest one), a value of the
    wrong type, choice or range, and a key that is given twice.
    """
    tree = _read(Path(path), ()) if path else {}
    for item in overrides:
        _merge(tree, _override(item))
    return _build(Config, tree, "")


def dump(config: Config) -> str:
    """The whole configuration as YAML that ``load`` reads back to an equal one."""
    return yaml.safe_dump(to_plain(config), sort_keys=False, default_flow_style=None, width=100)


def to_plain(config: Config) -> Plain:
    """The configuration as nested dictionaries, lists and scalars (what a checkpoint carries)."""
    return _listed(dataclasses.asdict(config))


def from_plain(tree: Plain, where: str, overrides: Sequence[str] = ()) -> Config:
    """The configuration that ``to_plain`` wrote, e.g. into the checkpoint ``where``, changed by overrides."""
    marked = _mark(tree, where)
    for item in overrides:
        _merge(marked, _override(item))
    return _build(Config, marked, "")


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, (tuple, list)) else value


def _mark(tree: Any, where: str) -> Any:
    return {k: _mark(v, where) for k, v in tree.items()} if isinstance(tree, dict) else _Value(tree, where)


def _read(path: Path, chain: tuple[Path, ...]) -> _Tree:
    if path.resolve() in chain:
        raise InputError(f"{path}: its base files lead back to itself; take it out of the base of {chain[-1]}")
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise InputError(f"config file {path}: {error.strerror}; give an existing YAML file") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        found = "a list" if isinstance(node, yaml.SequenceNode) else "one value"
        raise InputError(f"{path}: expected `key: value` lines at the top level, got {found}")
    tree = _mapping(node, lambda key: f"{path} line {key.start_mark.line + 1}")
    merged: _Tree = {}
    base = tree.pop("base", None)
    for name in _base_names(base):
        _merge(merged, _read(path.parent / name, (*chain, path.resolve())))
    _merge(merged, tree)
    return merged


def _base_names(base: Any) -> list[str]:
    if base is None:
        return []
    names = [base.value] if isinstance(base, _Value) and isinstance(base.value, str) else getattr(base, "value", base)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"{getattr(base, 'where', 'base')}: base: expected a file name or a list of them, got {names!r}"
        )
    return names


def _mapping(node: yaml.MappingNode, where: Callable[[yaml.Node], str]) -> _Tree:
    tree: _Tree = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        if key in tree:
            raise InputError(f"{where(key_node)}: key {key!r} is given twice; keep one of them")
        if isinstance(value_node, yaml.MappingNode):
            tree[key] = _mapping(value_node, where)
        else:
            tree[key] = _construct(value_node, where(key_node))
    return tree


def _construct(node: yaml.Node, where: str) -> _Value:
    text = node.value if isinstance(node, yaml.ScalarNode) else None
    loader = yaml.SafeLoader("")
    try:
        return _Value(loader.construct_object(node, deep=True), where, text)
    except (yaml.YAMLError, ValueError) as error:
        if text is not None and not node.tag.startswith("!"):
            return _Value(text, where, text)  # looks like a date or a number and is none
        raise InputError(f"{where}: not a plain value: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()


def _override(item: str) -> _Tree:
    dotted, sep, text = item.partition("=")
    if not sep or not dotted:
        raise InputError(f"override {item!r}: expected key=value, for example optim.lr=0.1")
    where = f"override {item!r}"
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{where}: the value is not YAML; put it in quotes") from error
    tree: Any = _Value("", where, "") if node is None else None
    if node is not None:
        tree = _mapping(node, lambda key: where) if isinstance(node, yaml.MappingNode) else _construct(node, where)
    for key in reversed(SHORT.get(dotted, dotted).split(".")):
        tree = {key: tree}
    return tree


def _merge(into: _Tree, new: _Tree) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _build(cls: Any, tree: Any, dotted: str) -> Any:
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
    except ValueError as error:
        raise InputError(f"{_where(tree, str(error))}{dotted + '.' if dotted else ''}{error}") from error


def _where(tree: _Tree, message: str) -> str:
    value = tree.get(message.partition(":")[0])
    return f"{value.where}: " if isinstance(value, _Value) else ""


def _first_leaf(tree: Any) -> tuple[str, str]:
    """Dotted path below ``tree`` and place of its first value."""
    below = ""
    while isinstance(tree, dict) and tree:
        key = next(iter(tree))
        below, tree = f"{below}.{key}", tree[key]
    return below, tree.where if isinstance(tree, _Value) else "config"


def _unknown(cls: type, dotted: str, key: str, value: Any) -> str:
    below, where = _first_leaf(value)
    for candidate in (dotted + below, dotted):
        if candidate in RENAMED:
            return f"{where}: {candidate} is PySlowFast's name; here: {RENAMED[candidate]}"
    prefix = dotted[: len(dotted) - len(key)]
    near = [prefix + name for name in difflib.get_close_matches(key, _names(cls), n=1)]
    near = near or [name for name in _all_names(Config, "") if name.rpartition(".")[2] == key]
    near = near or difflib.get_close_matches(dotted, _all_names(Config, ""), n=1, cutoff=0.5)
    if near:
        return f"{where}: unknown key {dotted!r}; did you mean {near[0]!r}?"
    return f"{where}: unknown key {dotted!r}; known here: {', '.join(prefix + name for name in _names(cls))}"


def _coerce(hint: Any, value: Any, dotted: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, dotted)
    if typing.get_origin(hint) is dict:
        if isinstance(value, dict):
            return _unmark(value)
        if value.value is None or value.value == {}:
            return {}
    if isinstance(value, dict):
        raise InputError(f"{_first_leaf(value)[1]}: {dotted}: expected {_expected(hint)}, got a group of keys")
    if hint is str and value.text is not None and value.value is not None:
        return value.text
    return _plain(hint, value.value, dotted, value.where)


def _unmark(tree: Any) -> Any:
    return {k: _unmark(v) for k, v in tree.items()} if isinstance(tree, dict) else tree.value


def _plain(hint: Any, value: Any, dotted: str, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal and any(value == arg and type(value) is type(arg) for arg in args):
        return value
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
    raise InputError(f"{where}: {dotted}: expected {_expected(hint)}, got {value!r}")


def _number(value: float | str) -> float | None:
    """YAML 1.1 reads 1e-4 as a string; a number that is not finite is no setting."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _expected(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin is tuple:
        count = "a list" if args[-1] is Ellipsis else f"a list of {len(args)} values"
        return f"{count} of type {args[0].__name__}"
    if origin in (Union, types.UnionType):
        return " or ".join(_expected(arg) for arg in args)
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "keys"}.get(
        origin or hint, str(hint)
    )


def _names(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


def _all_names(cls: Any, prefix: str) -> list[str]:
    names = []
    for name, hint in typing.get_type_hints(cls).items():
        names += _all_names(hint, f"{prefix}{name}.") if dataclasses.is_dataclass(hint) else [prefix + name]
    return names
