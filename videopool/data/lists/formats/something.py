"""Something-Something V2: a json list of ``{"id", "label", "template", "placeholders"}``, and the numbers of classes.

The class is the template without its brackets. ``something-something-v2-labels.json`` or ``labels.json`` (name to
number) stands beside the list or in the folder above. Videos are ``<id>.webm`` or another kind, in ``base`` or up to
two folders below it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from videopool.data.lists.formats.classes import in_order
from videopool.data.lists.formats.entries import Entry, Listing
from videopool.data.lists.formats.files import beside, chosen, missing_note, videos_by_name
from videopool.data.lists.formats.text import read_text
from videopool.errors import InputError

_ORDERS = ("something-something-v2-labels.json", "labels.json")


def read(path: Path, text: str, base: Path) -> Listing:
    """The videos of a json list; one without a file keeps its place, as ``<id>.webm``.

    Raises:
        InputError: for other json, the test list, which has no classes, and classes that are not in the file of labels.
    """
    items = _parsed(path, text)
    if not isinstance(items, list) or not all(isinstance(item, dict) and "id" in item for item in items):
        raise InputError(f"{path}: expected the json of Something-Something V2, a list of objects with id and template")
    if items and not any("template" in item for item in items):
        raise InputError(f"{path}: this is the test list, which was published without classes; use the validation list")
    order = beside(path, *_ORDERS)
    if order is None:
        raise InputError(
            f"{path}: the numbers of its classes are missing; put {' or '.join(_ORDERS)} into {path.parent} or the "
            "folder above"
        )
    classes = _classes(order)
    known, found = set(classes), videos_by_name(base)
    entries = [_entry(path, item, known, order.name, found) for item in items]
    return Listing("something-something-v2", entries, base, classes, str(order), missing_note(entries, found))


def _entry(path: Path, item: dict[str, Any], known: set[str], order: str, found: dict[str, list[str]]) -> Entry:
    name = str(item["id"])
    where = f"{path}: video {name}"
    label = str(item.get("template", "")).replace("[", "").replace("]", "")
    if label not in known:
        raise InputError(f"{where}: its template {label!r} is no class of {order}; correct one of the two")
    return Entry(where, 0, chosen(found[name], label) if name in found else f"{name}.webm", label)


def _classes(order: Path) -> tuple[str, ...]:
    numbers = _parsed(order, read_text(order))
    if not isinstance(numbers, dict):
        raise InputError(f"{order}: expected an object from the name of a class to its number")
    return in_order(order, ((name, str(number)) for name, number in numbers.items()))


def _parsed(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: is no json ({error}); fetch it anew") from None
