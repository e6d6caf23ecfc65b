"""Tables with a header, separated by commas or tabs.

``path`` (or ``video``, ``image``, ``file``); ``label`` or ``class`` by name or number, ``label_id`` by number; optional
``start_seconds``/``start`` and ``end_seconds``/``end``; ``may_be_cut``, 1 where the file may be that span alone, cut
out of a whole video. Other columns are ignored.
"""

from __future__ import annotations

from pathlib import Path

from videopool.data.lists.formats.entries import Entry, Listing, is_number
from videopool.data.lists.formats.text import Table, seconds
from videopool.errors import InputError

PATH_COLUMNS = ("path", "video", "image", "file")
LABEL_COLUMNS = ("label", "class", "label_id")
LABEL_LIMIT = 100_000  # a larger "class number" is a slip, and would make a class for every number below it
_START_COLUMNS = ("start_seconds", "start")
_END_COLUMNS = ("end_seconds", "end")


def read(table: Table, base: Path) -> Listing:
    """The videos of a table.

    Raises:
        InputError: naming file and line, for a missing column, an empty cell, and a number or time that is none.
    """
    path_column, label_column = table.column(*PATH_COLUMNS), table.column(*LABEL_COLUMNS)
    if path_column is None or label_column is None:
        missing = "path, video or file" if path_column is None else "label, class or label_id"
        raise InputError(f"{table.path}:1: the header has no column {missing}; it has {', '.join(table.columns)}")
    entries = [_entry(str(table.path), number, row, path_column, label_column) for number, row in table.rows()]
    return Listing("csv", entries, base)


def _entry(file: str, number: int, cells: dict[str, str], path_column: str, label_column: str) -> Entry:
    where = f"{file}:{number}"
    for name in (path_column, label_column):
        if not cells[name]:
            raise InputError(f"{where}: column {name} is empty")
    written_id = cells.get("label_id", "")
    if written_id and not (is_number(written_id) and int(written_id) < LABEL_LIMIT):
        raise InputError(f"{where}: label_id {written_id!r} is no whole number from 0 to {LABEL_LIMIT - 1}")
    start, end = (
        seconds(where, next((cells[name] for name in names if cells.get(name)), ""))
        for names in (_START_COLUMNS, _END_COLUMNS)
    )
    label_id, cut = int(written_id) if written_id else None, cells.get("may_be_cut", "")
    if cut not in ("", "0", "1"):
        raise InputError(f"{where}: may_be_cut {cut!r} is neither 0 nor 1")
    path, label = cells[path_column], cells[label_column]
    return Entry(file, number, path, label, label_id=label_id, start=start, end=end, may_be_cut=cut == "1")
