"""Lines and tables of text files, with line numbers."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from videopool.data.lists.formats.column_names import PART_COLUMNS
from videopool.data.lists.formats.encoding import decode_text
from videopool.data.lists.formats.entries import SUFFIXES, counted
from videopool.errors import InputError

_SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons"}
_TIME_STAMP = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d*)?)", re.ASCII)  # h:mm:ss.s or mm:ss.s


def read_text(path: Path) -> str:
    """Return the text of ``path`` (UTF-8, or UTF-16 with a byte order mark) with lines ended by ``\\n``.

    Raises:
        InputError: for a file that cannot be read or is not text, and for another encoding, which the error names.
    """
    if path.name.lower().endswith(SUFFIXES):
        raise InputError(f"{path} has the name of a video or image and is not read as a list. Give a list or a folder.")
    try:
        return decode_text(path, path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}). Give an existing text file.") from None


def data_lines(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield line numbers from 1 and stripped lines, without empty lines and comments (``#``)."""
    stripped = ((number, line.strip()) for number, line in enumerate(lines, start=1))
    return ((number, line) for number, line in stripped if line and not line.startswith("#"))


@dataclasses.dataclass(frozen=True)
class TextTable:
    """A table with a header.

    Attributes:
        path, lines: the file and its lines.
        columns: the column names, in lowercase.
        delimiter: the character between cells.
        part: selects the rows with this cell in the column split or subset; "" selects all rows.
    """

    path: Path
    lines: Sequence[str]
    columns: Sequence[str]
    delimiter: str
    part: str = ""

    def column(self, *names: str) -> str | None:
        """Return the first of ``names`` that is a column; None if none is."""
        return next((name for name in names if name in self.columns), None)

    def require(self, what: str, names: Sequence[str]) -> None:
        """Raise InputError unless all ``names`` are columns; ``what`` describes tables that have them."""
        missing = next((name for name in names if name not in self.columns), None)
        if missing is not None:
            raise InputError(
                f"{self.path}:1: {what} needs a column {missing}; the header has {', '.join(self.columns)}"
            )

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield line numbers and rows (column to stripped cell) of the selected part."""
        part_column = self._part_column()
        seen: dict[str, None] = {}
        for number, row in itertools.islice(self._cells(), 1, None):  # without the header
            if len(row) != len(self.columns):
                raise self._wrong_length(number, len(row))
            cells = {name: cell.strip() for name, cell in zip(self.columns, row, strict=True)}
            seen[cells.get(part_column, "")] = None
            if not self.part or cells[part_column] == self.part:
                yield number, cells
        if self.part and self.part not in seen:
            raise InputError(
                f"{self.path}: no row has {self.part!r} in the column {part_column}; it has {', '.join(seen)}"
            )

    def groups(self, column: str, setting: str) -> dict[int, str]:
        """Return the cell of ``column`` in each row, by line number; it groups the videos.

        Raises:
            InputError: for a missing column, with this ``setting``, and for an empty cell.
        """
        name = column.lower()
        if name not in self.columns:
            raise InputError(
                f"{self.path}:1: the header has no column {column!r}. Choose one of {', '.join(self.columns)}.",
                setting=setting,
            )
        found = {number: row[name] for number, row in self.rows()}
        empty = next((number for number, group in found.items() if not group), None)
        if empty is not None:
            raise InputError(f"{self.path}:{empty}: column {column!r} is empty. Every row needs a group.")
        return found

    def _wrong_length(self, number: int, length: int) -> InputError:
        quote = f"Quote cells that contain {_SEPARATORS[self.delimiter]}."
        fix = quote if length > len(self.columns) else "Write a cell for each column, even if it is empty."
        return InputError(
            f"{self.path}:{number}: {counted(length, 'column')}, but the header has {len(self.columns)}. {fix}"
        )

    def _part_column(self) -> str:
        column = self.column(*PART_COLUMNS)
        if self.part and column is None:
            raise InputError(
                f"{self.path}: #{self.part} selects rows by the column {' or '.join(PART_COLUMNS)}, which the table "
                f"does not have. Leave out #{self.part}."
            )
        return column or ""

    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(self.lines, delimiter=self.delimiter, strict=True, skipinitialspace=True)
        try:
            yield from ((reader.line_num, row) for row in reader if any(cell.strip() for cell in row))
        except csv.Error as error:
            raise InputError(f"{self.path}:{reader.line_num}: {error}. Look for a quote that is not closed.") from None


def table_of(path: Path, lines: Sequence[str], part: str = "") -> TextTable:
    """Return the table in ``lines``, whose header is the first line with text."""
    header = next((line for line in lines if line.strip()), "")
    delimiter = "\t" if "\t" in header else max(",;", key=header.count)
    try:
        columns = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:  # a line too long for a header
        columns = []
    return TextTable(path, lines, [name.strip().lower() for name in columns], delimiter, part)


def filled(where: str, row: Mapping[str, str], column: str) -> str:
    """Return the cell of ``column``; raise InputError if it is empty."""
    if not row[column]:
        raise InputError(f"{where}: column {column} is empty. Every row needs it.")
    return row[column]


def parse_seconds(where: str, written: str, column: str) -> float | None:
    """Return a cell of ``column``, in seconds or ``h:mm:ss.s``, as seconds; None for an empty one."""
    if not written:
        return None
    stamp = _TIME_STAMP.fullmatch(written)
    if stamp and float(stamp[3]) < 60:
        return 3600 * int(stamp[1] or 0) + 60 * int(stamp[2]) + float(stamp[3])
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if not (value >= 0 and math.isfinite(value)):
        fix = "Write a decimal point." if "," in written else "Leave the cell empty for the start or end of the file."
        raise InputError(f"{where}: {column}={written!r} must be a time of 0 or more, in seconds or h:mm:ss. {fix}")
    return value
