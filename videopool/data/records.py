"""Reading lists of labelled videos and images: class folders, ``path label`` lists, and tables with a header.

What is said of videos holds for images too, which are videos of one frame.

* **directories**: ``ROOT/<class>/**/<video>``. The class is the name of the first folder, spaces included. Images count
  where there is no video in the whole tree; beside videos they are taken for previews.
* **list**: a line a video, ``path label``. The path ends at the last suffix (``.mp4``, ``.jpeg``, ...) that is
  followed by a space, tab or comma, so both path and class may hold spaces; without a known suffix the line is cut at
  its last tab, else its last comma, else its last space. Either part may stand in double quotes. Empty lines and lines
  that begin with ``#`` are passed over.
* **csv**: comma- or tab-separated with a header: ``path`` (or ``video``, ``image``, ``file``); ``label`` or ``class``
  by name or number, ``label_id`` by number; optional ``start_seconds``/``start`` and ``end_seconds``/``end``. Other
  columns are ignored.

Labels that are all numbers count from 0. Otherwise classes are the sorted names, or the order of ``label_id`` where a
table has both.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from videopool.data.image_reader import IMAGE_SUFFIXES
from videopool.errors import InputError
from videopool.types import VideoRecord

VIDEO_SUFFIXES = (  # in lower case; files may use any case
    *(".mp4", ".m4v", ".mov", ".3gp", ".avi", ".mkv", ".webm", ".ogv"),
    *(".mpg", ".mpeg", ".ts", ".m2ts", ".flv", ".wmv"),
)
_SUFFIXES = (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)
_PATH_COLUMNS = ("path", "video", "image", "file")
_NAME_COLUMNS = ("label", "class")
_ID_COLUMN = "label_id"
_START_COLUMNS = ("start_seconds", "start")
_END_COLUMNS = ("end_seconds", "end")
_LABEL_LIMIT = 100_000  # a larger "class number" is a slip, and would make a class for every number below it

_SUFFIX_PATTERN = "|".join(re.escape(suffix) for suffix in _SUFFIXES)
_AFTER_SUFFIX = re.compile(rf'^(.*(?:{_SUFFIX_PATTERN})"?)(?:\s*[,\t]\s*|\s+)(.*\S)$', re.IGNORECASE)
_AFTER_QUOTE = re.compile(r'^("[^"]+")(?:\s*[,\t]\s*|\s+)(.*\S)$')


@dataclasses.dataclass(frozen=True)
class VideoList:
    """Labelled videos: ``label`` of a record is its class's place in ``classes``.

    ``source`` is the list or folder they come from; ``format`` is "directories", "list" or "csv".
    """

    records: tuple[VideoRecord, ...]
    classes: tuple[str, ...]
    source: str
    format: str

    def __repr__(self) -> str:
        return f"VideoList({self.source}: {len(self.records)} videos, {len(self.classes)} classes, {self.format})"


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A video as it stands in a list: where (file and line), its path, its label as written, its span in seconds."""

    where: str
    path: str
    label: str
    label_id: int | None = None
    start: float | None = None
    end: float | None = None


def read_videos(source: str | Path, root: str | Path | None = None, classes: Sequence[str] | None = None) -> VideoList:
    """Read the labelled videos of ``source``; the format is found out (see the head of this module).

    Args:
        source: a folder of class folders, a list or a table; looked for below ``root`` first, then as given.
        root: what relative paths start from; by default the folder that holds the list.
        classes: names in label order, of a training list or a checkpoint; by default they come from ``source``.

    Raises:
        InputError: naming file and line, for a missing source or root, an empty list, a line that cannot be understood,
            a label that is not among ``classes``, or if none of the videos exists. A single missing video is left
            to the decoder.
    """
    place = _find_source(source, root)
    if place.is_dir():
        entries, base, kind = _read_directories(place), place, "directories"
    else:
        base = Path(root) if root is not None else place.parent
        entries, kind = _read_file(place)
    if not entries:
        raise InputError(f"{place}: no videos found; expected {_expected(place)}")
    names = _class_names(entries, kind) if classes is None else tuple(classes)
    numbers = {name: number for number, name in enumerate(names)}
    records = tuple(_record(entry, base, numbers) for entry in entries)
    _check_some_exist(records, place, base)
    return VideoList(records, names, str(place), kind)


def _find_source(source: str | Path, root: str | Path | None) -> Path:
    if root is not None and not Path(root).is_dir():
        raise InputError(f"data.root={root}: no such folder; give the folder that holds the videos")
    candidates = [Path(source)] if root is None else [Path(root) / source, Path(source)]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    looked = " or ".join(str(candidate) for candidate in dict.fromkeys(candidates))
    raise InputError(f"{looked}: no such file or folder; give a list of videos or a folder of class folders")


def _expected(place: Path) -> str:
    if place.is_dir():
        return f"folders named after the classes that hold files ending in {' '.join(_SUFFIXES)}"
    return "a line 'path label' for each video, or a table with a header"


# --- class folders -------------------------------------------------------------------------------------------------


def _read_directories(root: Path) -> list[_Entry]:
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    files = [(folder.name, path) for folder in folders for path in _files_below(folder)]
    videos = [(name, path) for name, path in files if path.name.lower().endswith(VIDEO_SUFFIXES)]
    return [_Entry(str(path), path.relative_to(root).as_posix(), name) for name, path in videos or files]


def _files_below(folder: Path) -> list[Path]:
    """Videos and images, sorted."""
    found = [
        Path(parent) / name
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(_SUFFIXES) and not name.startswith(".")
    ]
    return sorted(found)


# --- lists and tables ----------------------------------------------------------------------------------------------


def _read_file(path: Path) -> tuple[list[_Entry], str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}); give a list of videos or a folder") from None
    lines = text.splitlines()
    header = next((line for line in lines if line.strip()), "")
    delimiter = "\t" if "\t" in header else ","
    columns = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
    if set(columns) & {*_PATH_COLUMNS, *_NAME_COLUMNS, _ID_COLUMN}:
        return _read_table(path, lines, columns, delimiter), "csv"
    if len(header.split()) > 1 and set(header.lower().split()) <= {*_PATH_COLUMNS, *_NAME_COLUMNS, _ID_COLUMN}:
        raise InputError(f"{path}:1: the columns of a table with a header are separated by commas or tabs, not spaces")
    return _read_lines(path, lines), "list"


def _read_lines(path: Path, lines: list[str]) -> list[_Entry]:
    entries = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            entries.append(_Entry(f"{path}:{number}", *_split_line(text, f"{path}:{number}")))
    return entries


def _split_line(text: str, where: str) -> tuple[str, str]:
    """(path, label) of a line ``path label``; the rule stands at the head of this module."""
    match = _AFTER_QUOTE.match(text) or _AFTER_SUFFIX.match(text)
    if match:
        path, label = match.groups()
    else:
        separator = next((mark for mark in "\t, " if mark in text), None)
        if separator is None or text.lower().endswith(_SUFFIXES):
            raise InputError(f"{where}: {text!r} has no label; expected 'path label'")
        path, label = text.rsplit(separator, 1)
    return _unquoted(path, where), _unquoted(label, where)


def _unquoted(text: str, where: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not text:
        raise InputError(f"{where}: path or label is empty; expected 'path label'")
    return text


def _read_table(path: Path, lines: list[str], columns: list[str], delimiter: str) -> list[_Entry]:
    place = {name: columns.index(name) for name in columns}
    path_column = _column(place, _PATH_COLUMNS)
    name_column = _column(place, (*_NAME_COLUMNS, _ID_COLUMN))
    if path_column is None or name_column is None:
        missing = "path, video or file" if path_column is None else "label, class or label_id"
        raise InputError(f"{path}:1: the header has no column {missing}; it has {', '.join(columns)}")
    reader = csv.reader(lines, delimiter=delimiter)
    rows = ((reader.line_num, row) for row in reader if any(cell.strip() for cell in row))
    next(rows)
    return [_table_entry(f"{path}:{number}", row, columns, path_column, name_column) for number, row in rows]


def _column(place: dict[str, int], names: Iterable[str]) -> str | None:
    return next((name for name in names if name in place), None)


def _table_entry(where: str, row: list[str], columns: list[str], path_column: str, name_column: str) -> _Entry:
    if len(row) != len(columns):
        raise InputError(f"{where}: {len(row)} columns, the header has {len(columns)}; quote cells that hold commas")
    cells = {name: cell.strip() for name, cell in zip(columns, row, strict=True)}
    for name in (path_column, name_column):
        if not cells[name]:
            raise InputError(f"{where}: column {name} is empty")
    written_id = cells.get(_ID_COLUMN, "")
    if written_id and not (_is_number(written_id) and int(written_id) < _LABEL_LIMIT):
        raise InputError(f"{where}: label_id {written_id!r} is no whole number from 0 to {_LABEL_LIMIT - 1}")
    start, end = (_seconds(where, cells, names) for names in (_START_COLUMNS, _END_COLUMNS))
    return _Entry(where, cells[path_column], cells[name_column], int(written_id) if written_id else None, start, end)


def _seconds(where: str, cells: dict[str, str], names: Iterable[str]) -> float | None:
    written = next((cells[name] for name in names if cells.get(name)), "")
    if not written:
        return None
    try:
        seconds = float(written)
    except ValueError:
        seconds = math.nan
    if not (seconds >= 0 and math.isfinite(seconds)):
        raise InputError(f"{where}: {written!r} is no time in seconds from 0 on")
    return seconds


# --- labels --------------------------------------------------------------------------------------------------------


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _class_names(entries: Sequence[_Entry], kind: str) -> tuple[str, ...]:
    labels = {entry.label for entry in entries}
    if kind == "directories":
        return tuple(sorted(labels))
    if all(_is_number(label) for label in labels):
        return tuple(str(number) for number in range(_largest_label(entries) + 1))
    if all(entry.label_id is not None for entry in entries):
        return _names_by_id(entries)
    return tuple(sorted(labels))


def _largest_label(entries: Sequence[_Entry]) -> int:
    largest = max(entries, key=lambda entry: int(entry.label))
    if int(largest.label) >= _LABEL_LIMIT:
        raise InputError(
            f"{largest.where}: label {largest.label} is no class number; expected less than {_LABEL_LIMIT}"
        )
    return int(largest.label)


def _names_by_id(entries: Sequence[_Entry]) -> tuple[str, ...]:
    """Names in the order of ``label_id``; a number that no video has is its own name."""
    names: dict[int, str] = {}
    numbers: dict[str, int] = {}
    for entry in entries:
        number = entry.label_id
        assert number is not None
        if names.setdefault(number, entry.label) != entry.label:
            raise InputError(f"{entry.where}: label_id {number} is {entry.label!r} here, {names[number]!r} above")
        if numbers.setdefault(entry.label, number) != number:
            raise InputError(f"{entry.where}: {entry.label!r} is label_id {number} here, {numbers[entry.label]} above")
    return tuple(names.get(number, str(number)) for number in range(max(names) + 1))


def _record(entry: _Entry, base: Path, classes: dict[str, int]) -> VideoRecord:
    start = "" if entry.start is None else f"{entry.start:g}"
    end = "" if entry.end is None else f"{entry.end:g}"
    name = f"{entry.path}@{start}-{end}" if start or end else entry.path
    try:
        return VideoRecord(name, base / entry.path, _label(entry, classes), entry.start, entry.end)
    except InputError:
        raise
    except ValueError:
        raise InputError(f"{entry.where}: the span from {start or 0} to {end} s is empty") from None


def _label(entry: _Entry, classes: dict[str, int]) -> int:
    if entry.label in classes:
        return classes[entry.label]
    if _is_number(entry.label) and int(entry.label) < len(classes):
        return int(entry.label)
    raise InputError(
        f"{entry.where}: label {entry.label!r} is not among the {len(classes)} classes ({_some(tuple(classes))}); "
        f"labels are names, or numbers from 0 to {len(classes) - 1}"
    )


def _some(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:4]) + (", ..." if len(classes) > 4 else "")


def _check_some_exist(records: Sequence[VideoRecord], place: Path, base: Path) -> None:
    if not any(record.path.exists() for record in records):
        raise InputError(
            f"{place}: none of the {len(records)} videos exists, the first being {records[0].id} below {base}; "
            f"set data.root to the folder that its paths start from"
        )
