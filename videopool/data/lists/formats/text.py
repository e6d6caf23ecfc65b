"""Lines and tables of a text file, with the numbers of their lines."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from videopool.data.lists.formats.encoding import decoded_text
from videopool.data.lists.formats.entries import SUFFIXES, counted
from videopool.errors import InputError

PART_COLUMNS = ("split", "subset")
_SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons"}
_TIME_STAMP = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d*)?)", re.ASCII)  # h:mm:ss.s or mm:ss.s


def read_text(path: Path) -> str:
    """Return the text of ``path`` (UTF-8, or UTF-16 with a byte order mark), its lines ended by ``\\n``.

    Raises:
        InputError: for a file that cannot be read, is no text, or is in another encoding, which is named.
    """
    if path.name.lower().endswith(SUFFIXES):
        raise InputError(f"{path}: cannot be read as text: it is named like a video or image; give a list or a folder")
    try:
        return decoded_text(path, path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read as text ({error}); give a list of videos or a folder") from None


def data_lines(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Line numbers, from 1 on, and stripped lines, without empty ones and those that begin with ``#``."""
    stripped = ((number, line.strip()) for number, line in enumerate(lines, start=1))
    return ((number, line) for number, line in stripped if line and not line.startswith("#"))


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with a header: lines of the file at ``path``, names of ``columns`` in lower case.

    ``part`` picks the rows that have it in the column split or subset; "" takes all.
    """

    path: Path
    lines: Sequence[str]
    columns: Sequence[str]
    delimiter: str
    part: str = ""

    def column(self, *names: str) -> str | None:
        """The first of ``names`` that the table has."""
        return next((name for name in names if name in self.columns), None)

    def require(self, what: str, names: Sequence[str]) -> None:
        """Raises InputError for the first column of ``names`` that is not there; ``what``: such a table."""
        missing = next((name for name in names if name not in self.columns), None)
        if missing is not None:
            raise InputError(
                f"{self.path}:1: the header has no column {missing}, which {what} has; it has {', '.join(self.columns)}"
            )

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line numbers and rows (column to stripped cell) of the part that is asked for.

        Raises:
            InputError: for a row of another length than the header, and for a part that no row has.
        """
        part_column = self._part_column()
        seen: dict[str, None] = {}
        for number, row in itertools.islice(self._cells(), 1, None):  # behind the header
            if len(row) != len(self.columns):
                fix = (
                    f"quote cells that hold {_SEPARATORS[self.delimiter]}"
                    if len(row) > len(self.columns)
                    else "write one for each, empty or not"
                )
                raise InputError(
                    f"{self.path}:{number}: {counted(len(row), 'column')}, the header has {len(self.columns)}; {fix}"
                )
            cells = {name: cell.strip() for name, cell in zip(self.columns, row, strict=True)}
            seen[cells.get(part_column, "")] = None
            if not self.part or cells[part_column] == self.part:
                yield number, cells
        if self.part and self.part not in seen:
            raise InputError(
                f"{self.path}: no row has {self.part!r} in the column {part_column}; it has {', '.join(seen)}"
            )

    def _part_column(self) -> str:
        column = self.column(*PART_COLUMNS)
        if self.part and column is None:
            raise InputError(
                f"{self.path}: #{self.part} picks the rows of a part, but there is no column "
                f"{' or '.join(PART_COLUMNS)}; leave it out"
            )
        return column or ""

    def _cells(self) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(self.lines, delimiter=self.delimiter, strict=True, skipinitialspace=True)
        try:
            yield from ((reader.line_num, row) for row in reader if any(cell.strip() for cell in row))
        except csv.Error as error:
            raise InputError(f"{self.path}:{reader.line_num}: {error}; look for a quote that is not closed") from None


def header_of(lines: Sequence[str]) -> tuple[str, list[str]]:
    """Delimiter and columns, in lower case, of what would be the header of a table: the first line with text."""
    header = next((line for line in lines if line.strip()), "")
    delimiter = "\t" if "\t" in header else max(",;", key=header.count)
    try:
        columns = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:  # a line too long for a header
        columns = []
    return delimiter, [name.strip().lower() for name in columns]


def seconds(where: str, written: str, column: str) -> float | None:
    """Return a cell of ``column``, seconds or ``h:mm:ss.s``, as seconds from 0 on; None where it is empty."""
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
        fix = "write a decimal point" if "," in written else "leave the cell empty for the start or end of the file"
        raise InputError(f"{where}: {written!r} is no time in seconds from 0 on, nor h:mm:ss (column {column}); {fix}")
    return value
