"""Lists in json: which data set's form one has, decided by the names in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from videopool.data.lists.formats import activitynet, diving48, resnets3d, something
from videopool.data.lists.formats.entries import Listing
from videopool.data.lists.formats.json_text import description, parse_json
from videopool.errors import InputError

_EXPECTED = (
    "the json of Something-Something V2 (a list of objects with id and template), Diving48 (a list of objects with "
    "vid_name and label), ActivityNet or 3D-ResNets (an object with database)"
)


def is_json(path: Path, text: str) -> bool:
    """Return whether a list is json: by its first characters, or by its suffix where these may be those of a path."""
    begin = "".join(text[:200].split())[:2]
    first, second = begin[:1], begin[1:]
    if (first == "[" and second in ("{", "]", "[", '"')) or (first == "{" and second in ('"', "}")):
        return True
    return path.suffix.lower() in (".json", ".jsonl") and first in ("[", "{", '"')


def read(path: Path, text: str, part: str, base: Path) -> Listing:
    """Return the videos of a list in json, of the subset ``part`` where the form has subsets.

    Raises:
        InputError: for json of another form, which is described, a part where the form has none, and whatever the
            form's own ``read`` raises.
    """
    if path.suffix.lower() == ".jsonl" or _is_json_lines(text):
        raise InputError(f"{path}: holds a json object on each line; expected {_EXPECTED}, or a table (path,label)")
    value = parse_json(path, text)
    if isinstance(value, dict) and isinstance(value.get("database"), dict) and value["database"]:
        form = resnets3d if _has_single_annotations(value["database"]) else activitynet
        return form.read(path, value, part, base)
    readers: dict[str, Callable[[Path, Any, Path], Listing]] = {"vid_name": diving48.read, "id": something.read}
    reader = next((readers[name] for name in readers if _all_have(value, name)), None)
    if reader is None:
        raise InputError(
            f"{path}: expected {_EXPECTED}, got {description(value)}; write a table with the header path,label instead"
        )
    if part:
        raise InputError(f"{path}: #{part} picks a part, but this json has no subsets; leave it out")
    return reader(path, value, base)


def _has_single_annotations(database: dict[str, Any]) -> bool:
    """Whether a video has one annotation, an object, and not a list of them."""
    return any(isinstance(video, dict) and isinstance(video.get("annotations"), dict) for video in database.values())


def _all_have(value: Any, name: str) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) and name in item for item in value)


def _is_json_lines(text: str) -> bool:
    lines = [line.strip() for line in text.split("\n", 2)[:2]]
    return len(lines) > 1 and all(line.startswith("{") and line.endswith("}") for line in lines)
