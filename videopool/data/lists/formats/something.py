"""Something-Something V2: a json list of ``{"id", "label", "template", "placeholders"}``, and the numbers of classes.

The class is the template without its brackets. ``something-something-v2-labels.json`` or ``labels.json`` (name to
number) stands beside the list or in the folder above. Videos are ``<id>.webm`` or another kind, in ``base`` or up to
two folders below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videopool.data.lists.formats.classes import in_order
from videopool.data.lists.formats.entries import Entry, Listing
from videopool.data.lists.formats.files import beside, chosen, missing_note, videos_by_name
from videopool.data.lists.formats.json_text import parse_json
from videopool.data.lists.formats.text import read_text
from videopool.errors import InputError

_ORDERS = ("something-something-v2-labels.json", "labels.json")


def read(path: Path, items: Sequence[dict[str, Any]], base: Path) -> Listing:
    """Return the videos of a parsed list; one without a file keeps its place, as ``<id>.webm``.

    The test list, which has no templates, is a list without labels.

    Raises:
        InputError: for a missing file of labels, and for classes that are not in it.
    """
    found = videos_by_name(base)
    if not any("template" in item for item in items):
        entries = [Entry(f"{path}: video {item['id']}", 0, _place(found, str(item["id"]), "")) for item in items]
        return Listing("something-something-v2", entries, base, note=missing_note(entries, found))
    order = beside(path, *_ORDERS)
    if order is None:
        raise InputError(
            f"{path}: the numbers of its classes are missing; put {' or '.join(_ORDERS)} into {path.parent} or the "
            "folder above"
        )
    classes = _classes(order)
    known = set(classes)
    entries = [_entry(path, item, known, order.name, found) for item in items]
    return Listing("something-something-v2", entries, base, classes, str(order), missing_note(entries, found))


def _entry(path: Path, item: dict[str, Any], known: set[str], order: str, found: dict[str, list[str]]) -> Entry:
    name = str(item["id"])
    where = f"{path}: video {name}"
    label = str(item.get("template", "")).replace("[", "").replace("]", "")
    if label not in known:
        raise InputError(f"{where}: its template {label!r} is not a class of {order}; correct one of the two")
    return Entry(where, 0, _place(found, name, label), label)


def _place(found: dict[str, list[str]], name: str, label: str) -> str:
    return chosen(found[name], label) if name in found else f"{name}.webm"


def _classes(order: Path) -> tuple[str, ...]:
    numbers = parse_json(order, read_text(order))
    if not isinstance(numbers, dict):
        raise InputError(f"{order}: expected an object from the name of a class to its number")
    return in_order(order, ((name, str(number)) for name, number in numbers.items()))
