"""Charades: a table with ``id`` and ``actions`` (``c092 11.90 21.20;c147 0.00 12.60``); ``Charades_v1_classes.txt``.

A video has several classes, or none. The times of its actions are not used: clips come from the whole video. Files are
``<id>.mp4`` or have another suffix, in ``base`` or up to two folders below it.
"""

from __future__ import annotations

from pathlib import Path

from videopool.data.lists.formats.classes import in_order
from videopool.data.lists.formats.entries import ListEntry, Listing
from videopool.data.lists.formats.files import find_file, missing_note, require_next_to, videos_by_name
from videopool.data.lists.formats.list_source import ListSource
from videopool.data.lists.formats.spans import refuse_spans
from videopool.data.lists.formats.text import data_lines, filled, read_text
from videopool.errors import InputError

_COLUMNS = ("id", "actions")
_CLASSES = "Charades_v1_classes.txt"


def read(source: ListSource) -> Listing:
    """Return the videos of a table; the path of one without a file is ``<id>.mp4``."""
    table = source.table
    table.require("a list of Charades", _COLUMNS)
    refuse_spans(table, _COLUMNS)
    order = require_next_to(table.path, "Charades", _CLASSES)
    names, found = _names(order), videos_by_name(source.base)
    entries = []
    for number, row in table.rows():
        where = f"{table.path}:{number}"
        name = filled(where, row, "id")
        path = find_file(found, [name], "", f"{name}.mp4")
        labels = _labels(where, row["actions"], names)
        entries.append(ListEntry(path, labels=labels, file=str(table.path), line=number))
    return Listing(entries, source.base, tuple(names.values()), str(order), missing_note(entries, found))


def _labels(where: str, actions: str, names: dict[str, str]) -> tuple[str, ...]:
    codes = [action.split()[0] for action in actions.split(";") if action.strip()]
    unknown = next((code for code in codes if code not in names), None)
    if unknown is not None:
        raise InputError(f"{where}: action {unknown!r} is not a class of {_CLASSES}. Correct one of the two.")
    return tuple(names[code] for code in codes)


def _names(order: Path) -> dict[str, str]:
    """Return the code and name of each class, in the order of the codes."""
    lines = (text.partition(" ") for _, text in data_lines(read_text(order).split("\n")))
    classes = in_order(order, ((name.strip(), code.removeprefix("c")) for code, _, name in lines))
    return {f"c{number:03d}": name for number, name in enumerate(classes)}
