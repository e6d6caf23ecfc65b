"""Jester and Something-Something V1: lines ``id;class`` without a header, and a file that names the classes.

The file of classes (``jester-v1-labels.csv``, ``something-something-v1-labels.csv``, one name a line) is next to the
list or in the parent folder, and decides which of the two data sets it is. The test lists have lines ``id``. A video is
a folder of frames named ``<id>``, or ``<id>.webm`` or another suffix, in ``base`` or up to two folders below it.
"""

from __future__ import annotations

import re
from pathlib import Path

from videopool.data.lists.formats.classes import read_classes
from videopool.data.lists.formats.entries import ListEntry, Listing, is_number
from videopool.data.lists.formats.files import find_next_to, find_video, missing_note, require_next_to, videos_by_name
from videopool.data.lists.formats.list_source import ListSource
from videopool.data.lists.formats.text import data_lines
from videopool.errors import InputError

_CLASSES = ("jester-v1-labels.csv", "something-something-v1-labels.csv")
_LINE = re.compile(r'^(?P<id>\d+)(?:;\s*"?(?P<label>[^"]*)"?)?$', re.ASCII)


def data_set(source: ListSource) -> str:
    """Return "jester-v1" or "something-something-v1", by the file of classes; "" for another list.

    The first line must be ``id;class``, which needs such a file, or ``id`` next to one.
    """
    first = _LINE.match(source.first_line)
    if first is None or is_number(first["label"] or ""):
        return ""
    order = _require_classes(source) if first["label"] else find_next_to(source.place, *_CLASSES)
    return "" if order is None else order.name.partition("-labels")[0]


def _require_classes(source: ListSource) -> Path:
    return require_next_to(source.place, "Jester or Something-Something V1", *_CLASSES)


def read(source: ListSource) -> Listing:
    """Return the videos of a list; the path of one without a file or folder is ``<id>.webm``."""
    path, order = source.place, _require_classes(source)
    classes = read_classes(order)
    known = set(classes)
    matches = [(number, text, _LINE.match(text)) for number, text in data_lines(source.lines)]
    found = videos_by_name(source.base, frames={match["id"] for _, _, match in matches if match})
    entries = []
    for number, text, match in matches:
        if match is None:
            raise InputError(f"{path}:{number}: {text!r} is not 'id;class' like the first line")
        label = (match["label"] or "").strip()
        if label and label not in known:
            raise InputError(f"{path}:{number}: {label!r} is not a class of {order.name}. Correct one of the two.")
        place, frames = find_video(found, match["id"], label, f"{match['id']}.webm")
        entries.append(ListEntry(place, label, frames=frames, file=str(path), line=number))
    return Listing(entries, source.base, classes, str(order), missing_note(entries, found))
