"""What every format is given: a source whose text, table or JSON is read once, when first needed."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from videopool.data.lists.formats.column_names import PATH_COLUMNS, is_header
from videopool.data.lists.formats.entries import Listing
from videopool.data.lists.formats.json_text import is_json, parse_json, refuse_json_lines
from videopool.data.lists.formats.text import TextTable, data_lines, read_text, table_of

_BEFORE_HEADER = re.compile(r"\s*|#.*|sep=.")


@dataclasses.dataclass(frozen=True)
class ListSource:
    """A list, a folder or tar files.

    Attributes:
        place: the file or folder; ``shards-{000..009}.tar`` for several tar files.
        part: the text after ``#``, "" without one.
        base: the folder that relative paths start from, unless the format has its own rule.
        reader: ``package.module.function`` that reads the source, "" for the formats of videopool.
    """

    place: Path
    part: str
    base: Path
    reader: str = ""

    @functools.cached_property
    def is_folder(self) -> bool:
        """Whether ``place`` is a folder."""
        return self.place.is_dir()

    @functools.cached_property
    def text(self) -> str:
        """The text of the file."""
        return read_text(self.place)

    @functools.cached_property
    def json(self) -> Any:
        """The value of JSON text; None for other text. Raises InputError for invalid JSON."""
        if not is_json(self.place, self.text):
            return None
        refuse_json_lines(self.place, self.text)
        return parse_json(self.place, self.text)

    @functools.cached_property
    def lines(self) -> list[str]:
        """The lines of the text; comments before the first line of data, and Excel's ``sep=;``, are empty."""
        lines = self.text.split("\n")
        first = next((number for number, line in enumerate(lines) if not _BEFORE_HEADER.fullmatch(line)), len(lines))
        return [""] * first + lines[first:]

    @functools.cached_property
    def first_line(self) -> str:
        """The first line of data, without surrounding space; "" if there is none."""
        return next((text for _, text in data_lines(self.lines)), "")

    @functools.cached_property
    def table(self) -> TextTable:
        """The text as a table whose header is the first line, whether or not that is a header (``has_header``)."""
        return table_of(self.place, self.lines, self.part)

    @property
    def has_header(self) -> bool:
        """Whether the first line is the header of a table."""
        return is_header(self.table.columns)

    @property
    def published_columns(self) -> frozenset[str]:
        """The columns of a table that names no files, as most published ones; none for other sources."""
        columns = frozenset(self.table.columns if self.has_header else ())
        return frozenset() if columns.intersection(PATH_COLUMNS) else columns

    def has_any(self, columns: Collection[str]) -> bool:
        """Return whether one of ``columns`` is in ``published_columns``."""
        return not self.published_columns.isdisjoint(columns)


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of lists.

    Attributes:
        name: as in docs/lists.md.
        claims: whether a source has this format; asked only if no earlier format claims the source.
        read: returns the videos of a source that the format claims.
        has_parts: whether ``#part`` may follow the source.
    """

    name: str
    claims: Callable[[ListSource], bool]
    read: Callable[[ListSource], Listing]
    has_parts: bool = False
