"""Parsing JSON, and describing its value in error messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from videopool.errors import InputError

EXPECTED = (
    "the JSON of Something-Something V2 (a list of objects with id and template), Diving48 (a list of objects with "
    "vid_name and label), ActivityNet or 3D-ResNets (an object with database)"
)
_NAMES_SHOWN = 5


def is_json(path: Path, text: str) -> bool:
    """Return whether text is JSON, judging by its first characters, and by its suffix if those may start a path."""
    begin = "".join(text[:200].split())[:2]
    first, second = begin[:1], begin[1:]
    if (first == "[" and second in ("{", "]", "[", '"')) or (first == "{" and second in ('"', "}")):
        return True
    return path.suffix.lower() in (".json", ".jsonl") and first in ("[", "{", '"')


def refuse_json_lines(path: Path, text: str) -> None:
    """Raise InputError for text with a JSON object on each line."""
    lines = [line.strip() for line in text.split("\n", 2)[:2]]
    objects = len(lines) > 1 and all(line.startswith("{") and line.endswith("}") for line in lines)
    if objects or path.suffix.lower() == ".jsonl":
        raise InputError(f"{path} has a JSON object on each line; expected {EXPECTED}, or a table (path,label)")


def parse_json(path: Path, text: str) -> Any:
    """Return the value of ``text``, the content of ``path``. Raises InputError for invalid JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON ({error}). Download or write it again.") from None


def all_have(value: Any, name: str) -> bool:
    """Return whether ``value`` is a list of objects that all have ``name``."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) and name in item for item in value)


def description(value: Any) -> str:
    """Return what a JSON value is: "a list of 3 objects with path, label"."""
    if isinstance(value, dict):
        return f"an object with {_names(value)}"
    if not isinstance(value, list):
        return f"a {'text' if isinstance(value, str) else type(value).__name__}"
    if value and isinstance(value[0], dict):
        return f"a list of {len(value)} objects with {_names(value[0])}"
    return f"a list of {len(value)} {'lists' if value and isinstance(value[0], list) else 'values'}"


def _names(value: dict[str, Any]) -> str:
    names = [str(name) for name in value]
    return ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "") or "nothing in it"
