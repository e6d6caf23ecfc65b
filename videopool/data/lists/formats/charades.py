"""Charades: a table with ``id`` and ``actions`` (``c092 11.90 21.20;c147 0.00 12.60``); ``Charades_v1_classes.txt``.

A video has several classes, or none. The times of its actions are not used: clips are taken from the whole video.
Videos are ``<id>.mp4`` or another kind, in ``base`` or up to two folders below it.
"""

from __future__ import annotations

from pathlib import Path

from videopool.data.lists.formats.classes import in_order
from videopool.data.lists.formats.entries import Entry, Listing
from videopool.data.lists.formats.files import beside, chosen, missing_note, videos_by_name
from videopool.data.lists.formats.spans import refuse_spans
from videopool.data.lists.formats.text import Table, data_lines, read_text
from videopool.errors import InputError

COLUMNS = ("id", "actions")
_ORDER = "Charades_v1_classes.txt"


def read(table: Table, base: Path) -> Listing:
    """The videos of a table; one without a file keeps its place, as ``<id>.mp4``.

    Raises:
        InputError: for a missing column or file of classes and, naming file and line, for an action that is no class.
    """
    table.require("a list of Charades", COLUMNS)
    refuse_spans(table, COLUMNS)
    order = beside(table.path, _ORDER)
    if order is None:
        raise InputError(
            f"{table.path}: the names of its classes are missing; put {_ORDER} into {table.path.parent} or the folder "
            "above"
        )
    names, found = _names(order), videos_by_name(base)
    entries = []
    for number, row in table.rows():
        where = f"{table.path}:{number}"
        if not row["id"]:
            raise InputError(f"{where}: column id is empty")
        path = chosen(found[row["id"]], "") if row["id"] in found else f"{row['id']}.mp4"
        entries.append(Entry(str(table.path), number, path, labels=_labels(where, row["actions"], names)))
    return Listing("charades", entries, base, tuple(names.values()), str(order), missing_note(entries, found))


def _labels(where: str, actions: str, names: dict[str, str]) -> tuple[str, ...]:
    codes = [action.split()[0] for action in actions.split(";") if action.strip()]
    unknown = next((code for code in codes if code not in names), None)
    if unknown is not None:
        raise InputError(f"{where}: action {unknown!r} is not a class of {_ORDER}; correct one of the two")
    return tuple(names[code] for code in codes)


def _names(order: Path) -> dict[str, str]:
    """Code to name of each class, in the order of the codes."""
    lines = (text.partition(" ") for _, text in data_lines(read_text(order).split("\n")))
    classes = in_order(order, ((name.strip(), code.removeprefix("c")) for code, _, name in lines))
    return {f"c{number:03d}": name for number, name in enumerate(classes)}
