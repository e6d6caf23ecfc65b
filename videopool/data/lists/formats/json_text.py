"""Json of a file, and what it is, in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from videopool.errors import InputError

_NAMES_SHOWN = 5


def parse_json(path: Path, text: str) -> Any:
    """Return the value of ``text``, the content of ``path``.

    Raises:
        InputError: for text that is no json.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: is no json ({error}); fetch or write it again") from None


def description(value: Any) -> str:
    """Return what kind of json a value is: "a list of 3 objects with path, label"."""
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
