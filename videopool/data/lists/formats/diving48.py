"""Diving48: a json list of ``{"vid_name", "label", "start_frame", "end_frame"}``.

Labels count from 0; ``Diving48_vocab.json`` (a list of the four parts of each dive) beside the list or in the folder
above names them. The published files are the dives alone, cut out of longer videos: ``start_frame`` and ``end_frame``
are places in those, and no span of a file. Files are ``<vid_name>.mp4``, or folders of frames, in ``base`` or up to two
folders below.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videopool.data.lists.formats.entries import Entry, Listing, is_number
from videopool.data.lists.formats.files import beside, missing_note, place_of, videos_by_name
from videopool.data.lists.formats.json_text import parse_json
from videopool.data.lists.formats.text import read_text
from videopool.errors import InputError

_ORDER = "Diving48_vocab.json"


def read(path: Path, items: Sequence[dict[str, Any]], base: Path) -> Listing:
    """Return the videos of a parsed list; one without a file keeps its place, as ``<vid_name>.mp4``.

    Raises:
        InputError: for an item without a name or number of a class, and a class that the vocabulary lacks.
    """
    order = beside(path, _ORDER)
    classes = () if order is None else _classes(order)
    found = videos_by_name(base, frames={str(item.get("vid_name")) for item in items})
    entries = [_entry(path, number, item, len(classes), found) for number, item in enumerate(items)]
    note = missing_note(entries, found)
    return Listing("diving48", entries, base, classes, "" if order is None else str(order), note)


def _entry(path: Path, number: int, item: dict[str, Any], classes: int, found: dict[str, list[str]]) -> Entry:
    name, label = str(item.get("vid_name", "")), str(item.get("label", ""))
    where = f"{path}: video {name or number}"
    if not name or not is_number(label):
        raise InputError(f"{where}: expected vid_name and a label that counts from 0, got {label!r}")
    if classes and int(label) >= classes:
        raise InputError(
            f"{where}: label {label} is not among the {classes} classes of {_ORDER}; correct one of the two"
        )
    place, frames = place_of(found, name, "", f"{name}.mp4")
    return Entry(where, 0, place, label, frames=frames)


def _classes(order: Path) -> tuple[str, ...]:
    parts = parse_json(order, read_text(order))
    if not isinstance(parts, list) or not all(isinstance(one, list | str) and one for one in parts):
        raise InputError(f"{order}: expected a list with the parts of the name of each class")
    return tuple(one if isinstance(one, str) else " ".join(map(str, one)) for one in parts)
