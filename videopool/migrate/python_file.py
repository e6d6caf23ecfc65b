"""Python configuration files, read as text: nothing is imported or run.

Assignments of literals, ``dict(...)``, names, arithmetic and f-strings are evaluated; everything else becomes
``Unevaluated``, which keeps its text.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from videopool.errors import InputError

_LARGEST = 10**6  # numbers of exponents and repeated elements above this are not evaluated
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_CALLS: dict[str, Callable[..., Any]] = {"dict": dict, "list": list, "tuple": tuple, "int": int, "float": float}


@dataclasses.dataclass(frozen=True)
class Unevaluated:
    """An expression that is not evaluated: its text and its place."""

    text: str
    where: str

    def __repr__(self) -> str:
        return self.text


class _NotPlainError(Exception):
    """An expression is no literal, ``dict(...)``, name or arithmetic."""


@dataclasses.dataclass
class PythonFile:
    """The variables of a file, merged into those of its ``_base_`` files.

    Attributes:
        values: of the variables.
        missing: ``_base_`` files that do not exist.
    """

    values: dict[str, Any]
    missing: list[str]


def read_python(path: Path, chain: tuple[Path, ...] = ()) -> PythonFile:
    """Return the variables of the file at ``path``.

    Raises:
        InputError: if the file cannot be read, is not Python, is its own base, or imports its bases.
    """
    if path.resolve() in chain:
        raise InputError(f"{path} is its own _base_; remove it from the _base_ of {chain[-1]}")
    try:
        return _read(path, chain)
    except RecursionError as error:
        raise InputError(f"{path}: an expression is nested too deeply; simplify it") from error


def _read(path: Path, chain: tuple[Path, ...]) -> PythonFile:
    tree = _parse(path)
    base, missing = _read_bases(tree, path, (*chain, path.resolve()))
    names: dict[str, Any] = {"_base_": base}
    for statement in tree.body:
        _run(statement, names, path)
    own = {name: value for name, value in names.items() if name != "_base_" and not name.startswith("__")}
    return PythonFile(merged(base, own), missing)


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give an existing file") from error
    except SyntaxError as error:
        raise InputError(f"{path} line {error.lineno}: not Python: {error.msg}; correct the line") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{path}: not Python: {' '.join(str(error).split())}; give a text file") from error


def _read_bases(tree: ast.Module, path: Path, chain: tuple[Path, ...]) -> tuple[dict[str, Any], list[str]]:
    """Return the variables of the ``_base_`` files, merged, and those that do not exist."""
    for statement in tree.body:
        if isinstance(statement, ast.With) and "read_base" in ast.unparse(statement.items[0].context_expr):
            raise InputError(
                f"{path} line {statement.lineno}: imports its bases with read_base(), which is not supported; give a "
                "configuration with _base_ = [...]"
            )
    names: dict[str, Any] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "_base_":
            _run(statement, names, path)
    listed = names.get("_base_", [])
    bases = [listed] if isinstance(listed, str) else listed
    if not isinstance(bases, (list, tuple)) or not all(isinstance(each, str) for each in bases):
        raise InputError(f"{path}: _base_ must be a file name or a list of them, not {bases!r}")
    values: dict[str, Any] = {}
    missing = []
    for each in bases:
        if "::" in each or not (path.parent / each).is_file():
            missing.append(each)
            continue
        below = read_python(path.parent / each, chain)
        values = merged(values, below.values)
        missing += below.missing
    return values, missing


def merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return ``own`` merged into ``base``: dictionaries by their keys, unless they have ``_delete_=True``."""
    result = dict(base)
    for key, value in own.items():
        before = result.get(key)
        if isinstance(value, dict):
            fresh = {name: each for name, each in value.items() if name != "_delete_"}
            keep = isinstance(before, dict) and not value.get("_delete_")
            result[key] = merged(before, fresh) if keep else merged({}, fresh)  # type: ignore[arg-type]
        else:
            result[key] = value
    return result


def _run(statement: ast.stmt, names: dict[str, Any], path: Path) -> None:
    """Evaluate an assignment; other statements have no effect."""
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        _assign(statement.target, _value(statement.value, names, path), names)
    elif isinstance(statement, ast.AugAssign):
        change = ast.BinOp(_as_load(statement.target), statement.op, statement.value)
        _assign(statement.target, _value(ast.copy_location(change, statement), names, path), names)
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            if ast.unparse(target) != "_base_" or not isinstance(names.get("_base_"), dict):
                _assign(target, _value(statement.value, names, path), names)


def _as_load(target: ast.expr) -> ast.expr:
    return ast.parse(ast.unparse(target), mode="eval").body


def _assign(target: ast.expr, value: Any, names: dict[str, Any]) -> None:
    """Set a name, or an element of a variable, as in ``train_pipeline[0] = ...``."""
    if isinstance(target, ast.Name):
        names[target.id] = value
    elif isinstance(target, ast.Subscript):
        try:
            owner = _evaluate(target.value, names)
            if isinstance(owner, (dict, list)):
                owner[_evaluate(target.slice, names)] = value
        except (_NotPlainError, LookupError, TypeError):
            return
    elif isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (list, tuple)):
        for each, item in zip(target.elts, value, strict=False):
            _assign(each, item, names)


def _value(node: ast.expr, names: dict[str, Any], path: Path) -> Any:
    """Return the value of an expression. Parts that cannot be evaluated are ``Unevaluated``."""
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        pairs = zip(node.keys, node.values, strict=True)
        return {key.value: _value(value, names, path) for key, value in pairs}  # type: ignore[union-attr]
    if isinstance(node, (ast.List, ast.Tuple)) and not any(isinstance(item, ast.Starred) for item in node.elts):
        items = [_value(item, names, path) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict" and not node.args:
        return _keywords(node, names, path)
    try:
        return _evaluate(node, names)
    except (_NotPlainError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError):
        return Unevaluated(ast.unparse(node), f"{path} line {node.lineno}")


def _keywords(node: ast.Call, names: dict[str, Any], path: Path) -> Any:
    """Return the dictionary of ``dict(name=value, **other)``."""
    result: dict[str, Any] = {}
    for keyword in node.keywords:
        value = _value(keyword.value, names, path)
        if keyword.arg is not None:
            result[keyword.arg] = value
        elif isinstance(value, dict):
            result |= value
        else:
            result[f"**{keyword.value.lineno}"] = value
    return result


def _evaluate(node: ast.expr, names: dict[str, Any]) -> Any:
    """Return the value of an expression, or raise ``_NotPlainError``."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.Attribute):
        return _evaluate(node.value, names)[node.attr]
    if isinstance(node, ast.Subscript):
        return _evaluate(node.value, names)[_evaluate(node.slice, names)]
    if isinstance(node, (ast.List, ast.Tuple)):
        return _sequence(node, names)
    if isinstance(node, ast.Dict):
        return {_evaluate(key, names): _evaluate(value, names) for key, value in _pairs(node)}
    if isinstance(node, ast.UnaryOp):
        return _unary(node, names)
    if isinstance(node, ast.BinOp):
        return _binary(node, names)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(_evaluate(part, names)) for part in node.values)
    if isinstance(node, ast.FormattedValue) and node.format_spec is None:
        return _evaluate(node.value, names)
    if isinstance(node, ast.Call):
        return _call(node, names)
    if isinstance(node, ast.Set) and isinstance(node.elts[0], ast.Set):  # {{_base_.name}}
        return _evaluate(node.elts[0].elts[0], names)
    raise _NotPlainError(ast.unparse(node))


def _text(value: Any) -> str:
    if isinstance(value, Unevaluated):
        raise _NotPlainError(value.text)
    return str(value)


def _pairs(node: ast.Dict) -> list[tuple[ast.expr, ast.expr]]:
    if None in node.keys:
        raise _NotPlainError(ast.unparse(node))
    return [(key, value) for key, value in zip(node.keys, node.values, strict=True) if key is not None]


def _sequence(node: ast.List | ast.Tuple, names: dict[str, Any]) -> list[Any] | tuple[Any, ...]:
    items: list[Any] = []
    for item in node.elts:
        if isinstance(item, ast.Starred):
            items += _evaluate(item.value, names)
        else:
            items.append(_evaluate(item, names))
    return items if isinstance(node, ast.List) else tuple(items)


def _unary(node: ast.UnaryOp, names: dict[str, Any]) -> Any:
    value = _evaluate(node.operand, names)
    if isinstance(node.op, ast.Not):
        return not value
    if isinstance(node.op, ast.USub):
        return -value
    if isinstance(node.op, ast.UAdd):
        return +value
    raise _NotPlainError(ast.unparse(node))


def _binary(node: ast.BinOp, names: dict[str, Any]) -> Any:
    left, right = _evaluate(node.left, names), _evaluate(node.right, names)
    if type(node.op) not in _OPERATORS or any(isinstance(side, Unevaluated) for side in (left, right)):
        raise _NotPlainError(ast.unparse(node))
    if not _is_small(node.op, left, right):
        raise _NotPlainError(ast.unparse(node))
    return _OPERATORS[type(node.op)](left, right)


def _is_small(kind: ast.operator, left: Any, right: Any) -> bool:
    """Return whether the result of an operation fits into memory for certain."""
    if isinstance(kind, ast.Pow):
        return (
            all(isinstance(side, (int, float)) for side in (left, right)) and abs(left) < _LARGEST and abs(right) < 64
        )
    if isinstance(kind, ast.Mult):
        sizes = [side if isinstance(side, (int, float)) else len(side) for side in (left, right)]
        numbers = all(isinstance(side, (int, float)) for side in (left, right))
        return numbers or abs(sizes[0] * sizes[1]) <= _LARGEST
    if isinstance(kind, ast.Mod) and isinstance(left, str):
        return re.search(r"%[^a-zA-Z%]*\d{4}", left) is None  # a width of thousands
    return True


def _call(node: ast.Call, names: dict[str, Any]) -> Any:
    """Return the result of ``dict``, ``list``, ``tuple``, ``int``, ``float``, or of ``copy`` and ``deepcopy``."""
    function = ast.unparse(node.func)
    arguments = [_evaluate(argument, names) for argument in node.args]
    keywords = {keyword.arg: _evaluate(keyword.value, names) for keyword in node.keywords if keyword.arg}
    if len(keywords) < len(node.keywords):
        raise _NotPlainError(ast.unparse(node))
    if function in ("copy.deepcopy", "deepcopy") and len(arguments) == 1:
        return copy.deepcopy(arguments[0])
    if isinstance(node.func, ast.Attribute) and node.func.attr == "copy" and not arguments:
        return copy.copy(_evaluate(node.func.value, names))
    if function in _CALLS:
        return _CALLS[function](*arguments, **keywords)
    raise _NotPlainError(ast.unparse(node))
