"""YAML files and dotted overrides as trees, with the file and line of every value."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from videopool.errors import InputError

# Short names of keys in overrides.
SHORT = {"resume": "train.resume"}
_SURROGATE = re.compile("[\ud800-\udfff]")  # part of a path that is not UTF-8, which YAML cannot hold


@dataclasses.dataclass(frozen=True)
class Value:
    """A leaf of a configuration tree.

    Attributes:
        value: as YAML reads it.
        where: the file and line, or the override.
        text: the text of a scalar. Keys of type text take it, because YAML reads 010 as 8 and 12:30 as 750.
    """

    value: Any
    where: str
    text: str | None = None


Tree = dict[str, Any]  # str -> Tree | Value


def read_tree(path: Path, chain: tuple[Path, ...] = (), *, last_wins: bool = False) -> Tree:
    """Return the tree of the file at ``path``, merged into those of its ``base`` files.

    Args:
        path: a YAML file.
        chain: the files that name it as their base.
        last_wins: accept a key that is given twice, with its last value, as PyYAML does.

    Raises:
        InputError: if a file cannot be read, is not YAML, or has a key twice.
    """
    if path.resolve() in chain:
        raise InputError(f"{path} is its own base; remove it from the base of {chain[-1]}")
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise InputError(f"config file {path}: {error.strerror}; give an existing YAML file") from error
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{path}{line}: not YAML: {error.problem}; correct the line, or the one before it") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}; give a text file") from error
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        found = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        raise InputError(f"{path}: expected `key: value` lines at the top level, got {found}")
    tree = _mapping(node, lambda key: f"{path} line {key.start_mark.line + 1}", last_wins=last_wins)
    merged: Tree = {}
    base = tree.pop("base", None)
    for name in _base_names(base):
        merge(merged, read_tree(path.parent / name, (*chain, path.resolve()), last_wins=last_wins))
    merge(merged, tree)
    return merged


def _base_names(base: Any) -> list[str]:
    if base is None:
        return []
    names = [base.value] if isinstance(base, Value) and isinstance(base.value, str) else getattr(base, "value", base)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"{getattr(base, 'where', 'base')}: base: expected a file name or a list of them, got {names!r}"
        )
    return names


def _mapping(node: yaml.MappingNode, where: Callable[[yaml.Node], str], *, last_wins: bool = False) -> Tree:
    tree: Tree = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        if key in tree and not last_wins:
            raise InputError(f"{where(key_node)}: key {key!r} is given twice; remove one")
        if isinstance(value_node, yaml.MappingNode):
            tree[key] = _mapping(value_node, where, last_wins=last_wins)
        else:
            tree[key] = _construct(value_node, where(key_node))
    return tree


def _construct(node: yaml.Node, where: str) -> Value:
    text = node.value if isinstance(node, yaml.ScalarNode) else None
    loader = yaml.SafeLoader("")
    try:
        return Value(loader.construct_object(node, deep=True), where, text)
    except (yaml.YAMLError, ValueError) as error:
        if text is not None and not node.tag.startswith("!"):
            return Value(text, where, text)  # such as an invalid date
        raise InputError(f"{where}: not a plain value: {' '.join(str(error).split())}") from error
    finally:
        loader.dispose()


def parse_override(item: str) -> Tree:
    """Return the override ``a.b=value`` as the tree ``{a: {b: value}}``.

    Raises:
        InputError: if ``item`` does not have this form.
    """
    dotted, sep, text = item.partition("=")
    if not sep or not dotted:
        raise InputError(f"override {item!r} must have the form key=value, for example optim.lr=0.1")
    where = f"override {item!r}"
    tree: Any = Value(text, where, text) if _SURROGATE.search(text) else _yaml_value(text, where)
    for key in reversed(SHORT.get(dotted, dotted).split(".")):
        tree = {key: tree}
    return tree


def _yaml_value(text: str, where: str) -> Any:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{where}: the value is not YAML; put it in quotes") from error
    if node is None:
        return Value("", where, "")
    return _mapping(node, lambda key: where) if isinstance(node, yaml.MappingNode) else _construct(node, where)


def merge(into: Tree, new: Tree) -> None:
    """Merge ``new`` into ``into`` in place: groups of keys are merged, other values replaced."""
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def mark(tree: Any, where: str) -> Any:
    """Return plain dictionaries and values as a tree whose values are all from ``where``."""
    return {k: mark(v, where) for k, v in tree.items()} if isinstance(tree, dict) else Value(tree, where)
