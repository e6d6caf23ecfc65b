"""EPIC-KITCHENS-100: a table with ``video_id``, time stamps of start and stop, ``verb_class`` and ``noun_class``.

``#verb`` or ``#noun`` picks the class. ``EPIC_100_verb_classes.csv`` and ``EPIC_100_noun_classes.csv`` (``id,key,...``)
beside the table or in the folder above name the classes, which are numbers without them. The test table has no classes.
Spans are the time stamps; ``start_frame`` and ``stop_frame`` say the same of the published images, and are not read.
Files are ``<video_id>.MP4`` in ``base`` or up to two folders below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from videopool.data.lists.formats.classes import in_order
from videopool.data.lists.formats.entries import Entry, Listing, is_number
from videopool.data.lists.formats.files import beside, chosen, missing_note, videos_by_name
from videopool.data.lists.formats.spans import refuse_spans
from videopool.data.lists.formats.text import Table, header_of, read_text, seconds
from videopool.errors import InputError

COLUMNS = ("video_id", "start_timestamp", "stop_timestamp")
_FRAMES = ("start_frame", "stop_frame")
_KINDS = ("verb", "noun")


def read(table: Table, part: str, base: Path) -> Listing:
    """Return the actions of a table; one without a file keeps its place, as ``<participant>/<video>.MP4``.

    Args:
        part: "verb" or "noun"; "" for the test table alone.

    Raises:
        InputError: for a missing choice of verb or noun and, naming file and line, for a wrong cell.
    """
    table.require("a table of EPIC-Kitchens", COLUMNS)
    refuse_spans(table, (*COLUMNS, *_FRAMES, "narration_timestamp"))
    labeled = any(f"{kind}_class" in table.columns for kind in _KINDS)
    if labeled and part not in _KINDS:
        raise InputError(f"{table.path}: an action has a verb and a noun; pick {table.path}#verb or {table.path}#noun")
    if part and f"{part}_class" not in table.columns:
        raise InputError(f"{table.path}:1: the header has no column {part}_class for #{part}; leave #{part} out")
    order = beside(table.path, f"EPIC_100_{part}_classes.csv") if part else None
    classes = () if order is None else _classes(order)
    found = videos_by_name(base)
    entries = [_entry(str(table.path), number, row, part, classes, found) for number, row in table.rows()]
    note = missing_note(entries, found)
    return Listing("epic-kitchens", entries, base, classes, "" if order is None else str(order), note)


def _entry(
    file: str, number: int, row: Mapping[str, str], part: str, classes: tuple[str, ...], found: dict[str, list[str]]
) -> Entry:
    where = f"{file}:{number}"
    empty = next((column for column in COLUMNS if not row[column]), None)
    if empty is not None:
        raise InputError(f"{where}: column {empty} is empty; fetch the table again")
    label = row[f"{part}_class"] if part else ""
    if part and not (is_number(label) and (not classes or int(label) < len(classes))):
        limit = f" below {len(classes)}" if classes else ""
        raise InputError(f"{where}: {part}_class {label!r} is not the number of a class{limit}; fetch the table again")
    name = row["video_id"]
    missing = f"{row.get('participant_id') or name.partition('_')[0]}/{name}.MP4"
    start, end = (seconds(where, row[column], column) for column in COLUMNS[1:])
    return Entry(file, number, chosen(found.get(name, [missing]), ""), label, start=start, end=end)


def _classes(order: Path) -> tuple[str, ...]:
    lines = read_text(order).split("\n")
    delimiter, columns = header_of(lines)
    table = Table(order, lines, columns, delimiter)
    table.require("the classes of EPIC-Kitchens", ("id", "key"))
    return in_order(order, ((row["key"], row["id"]) for _, row in table.rows()))
