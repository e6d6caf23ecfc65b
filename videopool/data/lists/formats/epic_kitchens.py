"""EPIC-KITCHENS-100: a table with ``video_id``, time stamps of start and stop, ``verb_class`` and ``noun_class``.

``#verb`` or ``#noun`` selects the class. ``EPIC_100_verb_classes.csv`` and ``EPIC_100_noun_classes.csv``
(``id,key,...``) next to the table or in the parent folder name the classes; without them they are numbers. The test
table has no classes. Spans are the time stamps; ``start_frame`` and ``stop_frame`` refer to the published images and
are not used. Files are ``<video_id>.MP4`` in ``base`` or up to two folders below it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from videopool.data.lists.formats.classes import in_order
from videopool.data.lists.formats.column_names import ONLY_EPIC_KITCHENS
from videopool.data.lists.formats.entries import ListEntry, Listing, is_number
from videopool.data.lists.formats.files import find_file, find_next_to, missing_note, videos_by_name
from videopool.data.lists.formats.list_source import ListSource
from videopool.data.lists.formats.spans import filled_span, refuse_spans
from videopool.data.lists.formats.text import filled, read_text, table_of
from videopool.errors import InputError

_COLUMNS = ("video_id", "start_timestamp", "stop_timestamp")
_FRAMES = ("start_frame", "stop_frame")
_KINDS = ("verb", "noun")


def claims(source: ListSource) -> bool:
    """Return whether the source is a table with columns of EPIC-KITCHENS."""
    return source.has_any(ONLY_EPIC_KITCHENS) or source.published_columns.issuperset(_COLUMNS)


def read(source: ListSource) -> Listing:
    """Return the actions of a table; the path of one without a file is ``<participant>/<video>.MP4``."""
    table, part = dataclasses.replace(source.table, part=""), source.part
    table.require("a table of EPIC-KITCHENS", _COLUMNS)
    refuse_spans(table, (*_COLUMNS, *_FRAMES, "narration_timestamp"))
    labeled = any(f"{kind}_class" in table.columns for kind in _KINDS)
    if labeled and part not in _KINDS:
        raise InputError(
            f"{table.path}: actions have a verb and a noun. Select {table.path}#verb or {table.path}#noun."
        )
    if part and f"{part}_class" not in table.columns:
        raise InputError(f"{table.path}:1: the header has no column {part}_class. Leave out #{part}.")
    order = find_next_to(table.path, f"EPIC_100_{part}_classes.csv") if part else None
    classes = () if order is None else _classes(order)
    found = videos_by_name(source.base)
    entries = [_entry(str(table.path), number, row, part, classes, found) for number, row in table.rows()]
    return Listing(entries, source.base, classes, str(order or ""), missing_note(entries, found))


def _entry(
    file: str, number: int, row: Mapping[str, str], part: str, classes: tuple[str, ...], found: dict[str, list[str]]
) -> ListEntry:
    where = f"{file}:{number}"
    name = filled(where, row, "video_id")
    start, end = filled_span(where, row, *_COLUMNS[1:])
    label = row[f"{part}_class"] if part else ""
    if part and not (is_number(label) and (not classes or int(label) < len(classes))):
        limit = f" below {len(classes)}" if classes else ""
        raise InputError(f"{where}: {part}_class={label!r} must be a class number{limit}. Download the table again.")
    missing = f"{row.get('participant_id') or name.partition('_')[0]}/{name}.MP4"
    path = find_file(found, [name], "", missing)
    return ListEntry(path, label, start_seconds=start, end_seconds=end, file=file, line=number)


def _classes(order: Path) -> tuple[str, ...]:
    table = table_of(order, read_text(order).split("\n"))
    table.require("a file of EPIC-KITCHENS classes", ("id", "key"))
    return in_order(order, ((row["key"], row["id"]) for _, row in table.rows()))
