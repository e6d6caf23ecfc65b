"""Jester and Something-Something V1: lines ``id;class`` without a header, and a file that names the classes.

The file of the classes (``jester-v1-labels.csv``, ``something-something-v1-labels.csv``, one name a line) stands beside
the list or in the folder above, and tells which of the two data sets it is. The test lists have lines ``id`` alone. A
video is a folder of frames named ``<id>``, or ``<id>.webm`` or another kind, in ``base`` or up to two folders below it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from videopool.data.lists.formats.classes import read_classes
from videopool.data.lists.formats.entries import Entry, Listing, is_number
from videopool.data.lists.formats.files import beside, missing_note, place_of, videos_by_name
from videopool.data.lists.formats.text import data_lines
from videopool.errors import InputError

_ORDERS = {
    "jester-v1-labels.csv": "jester",
    "something-something-v1-labels.csv": "something-something-v1",
}
_LINE = re.compile(r'^(?P<id>\d+)(?:;\s*"?(?P<label>[^"]*)"?)?$', re.ASCII)


def claims(path: Path, lines: Sequence[str]) -> bool:
    """Return whether the first line is ``id;class`` or, beside a file of the classes, ``id`` alone.

    Raises:
        InputError: for lines ``id;class`` without a file of the classes.
    """
    first = next((_LINE.match(text) for _, text in data_lines(lines)), None)
    if first is None or is_number(first["label"] or ""):
        return False
    if beside(path, *_ORDERS) is not None:
        return True
    if not first["label"]:
        return False
    raise InputError(
        f"{path}: lines 'id;class' are those of Jester or Something-Something V1, whose classes are missing; put "
        f"{' or '.join(_ORDERS)} into {path.parent} or the folder above"
    )


def read(path: Path, lines: Sequence[str], base: Path) -> Listing:
    """Return the videos of a list; one without a file or folder keeps its place, as ``<id>.webm``.

    Raises:
        InputError: naming file and line, for a line of another form and a class that the file of the classes lacks.
    """
    order = beside(path, *_ORDERS)
    assert order is not None  # claims() has seen it
    classes = read_classes(order)
    matches = [(number, text, _LINE.match(text)) for number, text in data_lines(lines)]
    found = videos_by_name(base, frames={match["id"] for _, _, match in matches if match})
    known = set(classes)
    entries = []
    for number, text, match in matches:
        if match is None:
            raise InputError(f"{path}:{number}: {text!r} is not 'id;class', as the first line is")
        label = (match["label"] or "").strip()
        if label and label not in known:
            raise InputError(f"{path}:{number}: {label!r} is not a class of {order.name}; correct one of the two")
        place, frames = place_of(found, match["id"], label, f"{match['id']}.webm")
        entries.append(Entry(str(path), number, place, label, frames=frames))
    return Listing(_ORDERS[order.name], entries, base, classes, str(order), missing_note(entries, found))
