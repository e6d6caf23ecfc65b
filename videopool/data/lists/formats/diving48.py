"""Diving48: a JSON list of ``{"vid_name", "label", "start_frame", "end_frame"}``.

Labels count from 0; ``Diving48_vocab.json`` (a list of the four parts of each dive) next to the list or in the parent
folder names them. The published files are single dives, cut out of longer videos: ``start_frame`` and ``end_frame``
refer to those and are not used. Files are ``<vid_name>.mp4``, or folders of frames, in ``base`` or up to two folders
below it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from videopool.data.lists.formats.entries import ListEntry, Listing, is_number
from videopool.data.lists.formats.files import find_next_to, find_video, missing_note, videos_by_name
from videopool.data.lists.formats.json_text import parse_json
from videopool.data.lists.formats.list_source import ListSource
from videopool.data.lists.formats.text import read_text
from videopool.errors import InputError

_CLASSES = "Diving48_vocab.json"


def read(source: ListSource) -> Listing:
    """Return the videos of a list; the path of one without a file is ``<vid_name>.mp4``."""
    path, items = source.place, source.json
    order = find_next_to(path, _CLASSES)
    classes = () if order is None else _classes(order)
    found = videos_by_name(source.base, frames={str(item.get("vid_name")) for item in items})
    entries = [_entry(path, number, item, len(classes), found) for number, item in enumerate(items)]
    return Listing(entries, source.base, classes, str(order or ""), missing_note(entries, found))


def _entry(path: Path, number: int, item: dict[str, Any], classes: int, found: dict[str, list[str]]) -> ListEntry:
    name, label = str(item.get("vid_name", "")), str(item.get("label", ""))
    where = f"{path}: video {name or number}"
    if not name or not is_number(label):
        raise InputError(f"{where} needs vid_name and a label that counts from 0; its label is {label!r}")
    if classes and int(label) >= classes:
        raise InputError(f"{where}: {_CLASSES} has {classes} classes, and no number {label}. Correct one of the two.")
    place, frames = find_video(found, name, "", f"{name}.mp4")
    return ListEntry(place, label, frames=frames, file=where)


def _classes(order: Path) -> tuple[str, ...]:
    parts = parse_json(order, read_text(order))
    if not isinstance(parts, list) or not all(isinstance(one, list | str) and one for one in parts):
        raise InputError(f"{order} must be a list with the parts of the name of each class")
    return tuple(one if isinstance(one, str) else " ".join(map(str, one)) for one in parts)
