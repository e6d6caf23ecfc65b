"""Something-Something V2: a JSON list of ``{"id", "label", "template", "placeholders"}``, and the numbers of classes.

The class is the template without brackets. ``something-something-v2-labels.json`` or ``labels.json`` (name to number)
is next to the list or in the parent folder. Files are ``<id>.webm`` or have another suffix, in ``base`` or up to two
folders below it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from videopool.data.lists.formats.classes import in_order
from videopool.data.lists.formats.entries import ListEntry, Listing
from videopool.data.lists.formats.files import find_file, missing_note, require_next_to, videos_by_name
from videopool.data.lists.formats.json_text import parse_json
from videopool.data.lists.formats.list_source import ListSource
from videopool.data.lists.formats.text import read_text
from videopool.errors import InputError

_CLASSES = ("something-something-v2-labels.json", "labels.json")


def read(source: ListSource) -> Listing:
    """Return the videos of a list; the path of one without a file is ``<id>.webm``.

    The test list, which has no templates, is a list without labels.
    """
    path, items = source.place, source.json
    found = videos_by_name(source.base)
    if not any("template" in item for item in items):
        entries = [ListEntry(_path(found, str(item["id"]), ""), file=f"{path}: video {item['id']}") for item in items]
        return Listing(entries, source.base, note=missing_note(entries, found))
    order = require_next_to(path, "Something-Something V2", *_CLASSES)
    classes = _classes(order)
    known = set(classes)
    entries = [_entry(path, item, known, order.name, found) for item in items]
    return Listing(entries, source.base, classes, str(order), missing_note(entries, found))


def _entry(path: Path, item: dict[str, Any], known: set[str], order: str, found: dict[str, list[str]]) -> ListEntry:
    name = str(item["id"])
    where = f"{path}: video {name}"
    label = str(item.get("template", "")).replace("[", "").replace("]", "")
    if label not in known:
        raise InputError(f"{where}: its template {label!r} is not a class of {order}. Correct one of the two.")
    return ListEntry(_path(found, name, label), label, file=where)


def _path(found: dict[str, list[str]], name: str, label: str) -> str:
    return find_file(found, [name], label, f"{name}.webm")


def _classes(order: Path) -> tuple[str, ...]:
    numbers = parse_json(order, read_text(order))
    if not isinstance(numbers, dict):
        raise InputError(f"{order} must be an object from class names to numbers")
    return in_order(order, ((name, str(number)) for name, number in numbers.items()))
