"""Tables with a header, separated by commas, tabs or semicolons.

``path`` (or ``video``, ``image``, ``file``); ``label`` or ``class`` by name or number, ``labels`` where a video has
several, ``label_id`` by number; optional columns of a span (``spans``); ``may_be_cut``, 1 where the file may be that
span alone, cut out of a whole video. A table with no other columns than path and span is a list without labels.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from videopool.data.lists.formats.classes import CLASSES_FILE, read_classes
from videopool.data.lists.formats.entries import Entry, Listing, is_number
from videopool.data.lists.formats.several import refuse_flags
from videopool.data.lists.formats.spans import SpanColumns, find_spans
from videopool.data.lists.formats.text import PART_COLUMNS, Table
from videopool.errors import InputError

PATH_COLUMNS = ("path", "video", "image", "file")
LABEL_COLUMNS = ("label", "class", "labels", "label_id")
LABEL_LIMIT = 100_000  # a larger "class number" is a slip, and would make a class for every number below it
_SEVERAL = "labels"
_COLUMNS_SHOWN = 5
_ITEM = r"""(?:'[^']*'|"[^"]*"|\d+)"""
_PYTHON_LIST = re.compile(rf"\[\s*(?:{_ITEM}(?:[\s,]+{_ITEM})*)?[\s,]*\]", re.ASCII)
_NUMBERS = re.compile(r"\d+(?:[\s,]+\d+)+", re.ASCII)  # in the column "labels", and nowhere else


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Which columns of a table say what; ``label`` is "" in a list without labels."""

    path: str
    label: str
    spans: SpanColumns
    cut: bool  # whether files may be cut, where the table does not say it
    known: frozenset[str]  # names in classes.txt, which may hold semicolons


def read(table: Table, base: Path) -> Listing:
    """Return the videos of a table; ``note`` names the columns that are not used.

    Raises:
        InputError: naming file and line, for a missing column, a span in unknown columns, an empty cell, and a number
            or time that is none.
    """
    columns = _find_columns(table)
    entries = [_entry(str(table.path), number, row, columns) for number, row in table.rows()]
    if any(entry.labels for entry in entries):
        refuse_flags(entries)
    if columns.label == _SEVERAL and not _has_several(table, entries):
        entries = [_with_one_label(entry) for entry in entries]
    return Listing("csv", entries, base, note=_note_of_columns(table, columns))


def _note_of_columns(table: Table, columns: _Columns) -> str:
    """A sentence on the columns that are not read; "" where all are."""
    read = {columns.path, columns.label, "label_id", "may_be_cut", "youtube_id", *columns.spans.columns}
    if table.part:
        read.update(PART_COLUMNS)
    unread = [name for name in table.columns if name and name not in read]
    if not unread:
        return ""
    more = f" and {len(unread) - _COLUMNS_SHOWN} more" if len(unread) > _COLUMNS_SHOWN else ""
    return f"not read as path, class or span: {', '.join(unread[:_COLUMNS_SHOWN])}{more}"


def _has_several(table: Table, entries: Sequence[Entry]) -> bool:
    """Whether the column ``labels`` gives some video several classes, or none while others have some.

    A semicolon at the end of every cell, as ``prepare.lists`` writes it, says so of videos with one class each.
    """
    counts = {len(entry.written) for entry in entries}
    return max(counts, default=0) > 1 or counts == {0, 1} or all(row[_SEVERAL][-1:] == ";" for _, row in table.rows())


def _with_one_label(entry: Entry) -> Entry:
    """Return an entry with its one label, or none, instead of several."""
    return dataclasses.replace(entry, label=next(iter(entry.written), ""), labels=None)


def _find_columns(table: Table) -> _Columns:
    spans = find_spans(table)
    path, label = table.column(*PATH_COLUMNS), table.column(*LABEL_COLUMNS)
    given = [column for column in LABEL_COLUMNS if column in table.columns]
    if _SEVERAL in given and len(given) > 1:
        raise InputError(f"{table.path}:1: columns {' and '.join(given)} both give classes; keep one of them")
    if path is None:
        raise _missing(table, "path, video or file", "; rename the one that names the files to path")
    twice = next((name for name in (path, *given, *spans.columns) if list(table.columns).count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{table.path}:1: the header has two columns {twice}; keep one of them")
    # Copies of Kinetics with paths still have the span in the video on YouTube, of which the file may be a part.
    cut = "youtube_id" in table.columns
    unlabeled = {path, spans.start, spans.end, "may_be_cut", *PART_COLUMNS}
    if label is None and not unlabeled.issuperset(table.columns):
        raise _missing(
            table,
            "label, class or label_id",
            "; rename the one that names the classes to label; a list without labels has the column path alone",
        )
    order = table.path.parent / CLASSES_FILE
    return _Columns(path, label or "", spans, cut, frozenset(read_classes(order) if order.is_file() else ()))


def _missing(table: Table, names: str, more: str) -> InputError:
    return InputError(f"{table.path}:1: the header has no column {names}; it has {', '.join(table.columns)}{more}")


def _entry(file: str, number: int, cells: Mapping[str, str], columns: _Columns) -> Entry:
    where = f"{file}:{number}"
    if not cells[columns.path]:
        raise InputError(f"{where}: column {columns.path} is empty")
    label, labels = _labels(where, cells[columns.label] if columns.label else "", columns)
    label_id = _label_id(where, cells)
    if labels is not None and label_id is not None:
        raise InputError(f"{where}: {columns.label} has several classes, label_id one; remove the column label_id")
    start, end = columns.spans.seconds(where, cells)
    start_frame, end_frame = columns.spans.frame_numbers(where, cells)
    return Entry(
        file,
        number,
        cells[columns.path],
        label,
        labels,
        label_id,
        start,
        end,
        may_be_cut=_may_be_cut(where, cells, columns),
        start_frame=start_frame,
        end_frame=end_frame,
    )


def _may_be_cut(where: str, cells: Mapping[str, str], columns: _Columns) -> bool:
    written = cells.get("may_be_cut", "")
    if written not in ("", "0", "1"):
        raise InputError(f"{where}: may_be_cut {written!r} is neither 0 nor 1")
    return written == "1" if written else columns.cut


def _labels(where: str, written: str, columns: _Columns) -> tuple[str, tuple[str, ...] | None]:
    """Return the label of a row, or else its several labels."""
    if _PYTHON_LIST.fullmatch(written) and written not in columns.known:
        raise InputError(f"{where}: {columns.label} {written} is a list in brackets; write a;b in the column labels")
    if columns.label in ("", _SEVERAL):
        return "", _several(where, written, columns.label) if columns.label else None
    if not written.strip(";"):
        raise InputError(f"{where}: column {columns.label} is empty; give every video a label, or remove the column")
    if ";" not in written or written in columns.known:
        return written, None
    return "", _several(where, written, columns.label)


def _several(where: str, written: str, column: str) -> tuple[str, ...]:
    """Return the labels of a cell; none where it is empty."""
    if column == _SEVERAL and _NUMBERS.fullmatch(written):
        return tuple(re.split(r"[\s,]+", written))
    labels = tuple(part.strip() for part in re.split(r"[;|]" if column == _SEVERAL else ";", written.strip("; ")))
    if labels != ("",) and not all(labels):
        raise InputError(f"{where}: {column} {written!r} has an empty label; put one semicolon between two labels")
    return tuple(filter(None, labels))


def _label_id(where: str, cells: Mapping[str, str]) -> int | None:
    written = cells.get("label_id", "")
    if written and not (is_number(written) and int(written) < LABEL_LIMIT):
        raise InputError(f"{where}: label_id {written!r} is no whole number from 0 to {LABEL_LIMIT - 1}")
    return int(written) if written else None
