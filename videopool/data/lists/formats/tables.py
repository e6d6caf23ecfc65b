"""Tables with a header, separated by commas, tabs or semicolons.

Columns: ``path`` (or ``video``, ``image``, ``file``); ``label`` or ``class`` by name or number, ``labels`` for several
classes of a video, ``label_id`` by number; a span (``spans``); ``may_be_cut``, 1 if the file may be the span alone, cut
out of a whole video. A table with only path and span is a list without labels.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from videopool.data.lists.formats.classes import CLASSES_FILE, read_classes
from videopool.data.lists.formats.column_names import LABEL_COLUMNS, PART_COLUMNS, PATH_COLUMNS
from videopool.data.lists.formats.entries import ListEntry, Listing, is_number, refuse_flags
from videopool.data.lists.formats.list_source import ListSource
from videopool.data.lists.formats.spans import SpanColumns, find_spans
from videopool.data.lists.formats.text import TextTable, filled
from videopool.errors import InputError

LABEL_LIMIT = 100_000  # a larger class number is a mistake, and would make a class for every smaller number
_SEVERAL = "labels"
_COLUMNS_SHOWN = 5
_ITEM = r"""(?:'[^']*'|"[^"]*"|\d+)"""
_PYTHON_LIST = re.compile(rf"\[\s*(?:{_ITEM}(?:[\s,]+{_ITEM})*)?[\s,]*\]", re.ASCII)
_NUMBERS = re.compile(r"\d+(?:[\s,]+\d+)+", re.ASCII)  # several classes in the column "labels" only


@dataclasses.dataclass(frozen=True)
class _Columns:
    """The columns to read; ``label`` is "" in a list without labels."""

    path: str
    label: str
    spans: SpanColumns
    cut: bool  # the default of may_be_cut
    known: frozenset[str]  # names in classes.txt, which may contain semicolons


def read(source: ListSource) -> Listing:
    """Return the videos of a table; ``note`` names the columns that are not used."""
    table = source.table
    columns = _find_columns(table)
    entries = [_entry(str(table.path), number, row, columns) for number, row in table.rows()]
    if any(entry.labels for entry in entries):
        refuse_flags(entries)
    if columns.label == _SEVERAL and not _has_several(table, entries):
        entries = [dataclasses.replace(one, label="".join(one.all_labels), labels=None) for one in entries]
    return Listing(entries, source.base, note=_note_of_columns(table, columns))


def _note_of_columns(table: TextTable, columns: _Columns) -> str:
    """Return a sentence about the columns that are not used; "" if all are."""
    used = {columns.path, columns.label, "label_id", "may_be_cut", "youtube_id", *columns.spans.columns}
    if table.part:
        used.update(PART_COLUMNS)
    unused = [name for name in table.columns if name and name not in used]
    if not unused:
        return ""
    more = f" and {len(unused) - _COLUMNS_SHOWN} more" if len(unused) > _COLUMNS_SHOWN else ""
    return f"columns not used: {', '.join(unused[:_COLUMNS_SHOWN])}{more}"


def _has_several(table: TextTable, entries: Sequence[ListEntry]) -> bool:
    """Return whether the column ``labels`` gives some video several classes, or none while others have one.

    A semicolon at the end of every cell, which ``prepare.write_list`` writes, marks a list of several classes in which
    each video happens to have one.
    """
    counts = {len(entry.all_labels) for entry in entries}
    return max(counts, default=0) > 1 or counts == {0, 1} or all(row[_SEVERAL][-1:] == ";" for _, row in table.rows())


def _find_columns(table: TextTable) -> _Columns:
    spans = find_spans(table)
    path, label = table.column(*PATH_COLUMNS), table.column(*LABEL_COLUMNS)
    given = [column for column in LABEL_COLUMNS if column in table.columns]
    if _SEVERAL in given and len(given) > 1:
        raise InputError(f"{table.path}:1: columns {' and '.join(given)} both give classes. Keep one of them.")
    if path is None:
        raise _missing(table, "path, video or file", "Rename the one that names the files to path.")
    twice = next((name for name in (path, *given, *spans.columns) if list(table.columns).count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{table.path}:1: the header has two columns {twice}. Keep one of them.")
    # Copies of Kinetics with paths still have the span in the YouTube video, and a file may be that span alone.
    cut = "youtube_id" in table.columns
    unlabeled = {path, spans.start, spans.end, "may_be_cut", *PART_COLUMNS}
    if label is None and not unlabeled.issuperset(table.columns):
        raise _missing(
            table,
            "label, class or label_id",
            "Rename the one that names the classes to label; a list without labels has only the column path.",
        )
    order = table.path.parent / CLASSES_FILE
    return _Columns(path, label or "", spans, cut, frozenset(read_classes(order) if order.is_file() else ()))


def _missing(table: TextTable, names: str, advice: str) -> InputError:
    return InputError(f"{table.path}:1: the header has no column {names}, but {', '.join(table.columns)}. {advice}")


def _entry(file: str, number: int, cells: Mapping[str, str], columns: _Columns) -> ListEntry:
    where = f"{file}:{number}"
    path = filled(where, cells, columns.path)
    label, labels = _labels(where, cells[columns.label] if columns.label else "", columns)
    label_id = _label_id(where, cells)
    if labels is not None and label_id is not None:
        raise InputError(
            f"{where}: {columns.label} has several classes, but label_id has one. Remove the column label_id."
        )
    span = columns.spans.read(where, cells)
    cut = _may_be_cut(where, cells, columns)
    return ListEntry(path, label, labels, label_id, **span, may_be_cut=cut, file=file, line=number)


def _may_be_cut(where: str, cells: Mapping[str, str], columns: _Columns) -> bool:
    written = cells.get("may_be_cut", "")
    if written not in ("", "0", "1"):
        raise InputError(f"{where}: may_be_cut={written!r} must be 0 or 1")
    return written == "1" if written else columns.cut


def _labels(where: str, written: str, columns: _Columns) -> tuple[str, tuple[str, ...] | None]:
    """Return the label of a row and None, or "" and its several labels."""
    if _PYTHON_LIST.fullmatch(written) and written not in columns.known:
        raise InputError(f"{where}: {columns.label}={written} is a list in brackets. Write a;b in the column labels.")
    if columns.label in ("", _SEVERAL):
        return "", _several(where, written, columns.label) if columns.label else None
    if not written.strip(";"):
        raise InputError(f"{where}: column {columns.label} is empty. Give every video a label, or remove the column.")
    if ";" not in written or written in columns.known:
        return written, None
    return "", _several(where, written, columns.label)


def _several(where: str, written: str, column: str) -> tuple[str, ...]:
    """Return the labels of a cell; () for an empty one."""
    if column == _SEVERAL and _NUMBERS.fullmatch(written):
        return tuple(re.split(r"[\s,]+", written))
    labels = tuple(part.strip() for part in re.split(r"[;|]" if column == _SEVERAL else ";", written.strip("; ")))
    if labels != ("",) and not all(labels):
        raise InputError(f"{where}: {column}={written!r} has an empty label. Put one semicolon between two labels.")
    return tuple(filter(None, labels))


def _label_id(where: str, cells: Mapping[str, str]) -> int | None:
    written = cells.get("label_id", "")
    if written and not (is_number(written) and int(written) < LABEL_LIMIT):
        raise InputError(f"{where}: label_id={written!r} must be a whole number from 0 to {LABEL_LIMIT - 1}")
    return int(written) if written else None
