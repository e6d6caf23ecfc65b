"""Moments in Time: ``path,label,agreeing,disagreeing`` without a header; ``moments_categories.txt`` (``name,number``).

Paths start at the folder of the videos, or at its folder ``training`` for ``trainingSet.csv`` and ``validation`` for
``validationSet.csv``.
"""

from __future__ import annotations

from pathlib import Path

from videopool.data.lists.formats.classes import in_order
from videopool.data.lists.formats.entries import VIDEO_SUFFIXES, ListEntry, Listing, is_number
from videopool.data.lists.formats.files import find_next_to
from videopool.data.lists.formats.list_source import ListSource
from videopool.data.lists.formats.text import data_lines, read_text
from videopool.errors import InputError

_CLASSES = "moments_categories.txt"


def claims(source: ListSource) -> bool:
    """Return whether the first line has the cells of Moments in Time."""
    return _cells(source.first_line) is not None


def read(source: ListSource) -> Listing:
    """Return the videos of a list with any votes."""
    path = source.place
    folder = source.base / path.stem.removesuffix("Set")
    prefix = f"{folder.name}/" if path.stem.endswith("Set") and folder.is_dir() else ""
    entries = []
    for number, text in data_lines(source.lines):
        cells = _cells(text)
        if cells is None:
            raise InputError(f"{path}:{number}: {text!r} is not 'path,label,votes,votes' like the first line")
        entries.append(ListEntry(prefix + cells[0], cells[1], file=str(path), line=number))
    order = find_next_to(path, _CLASSES)
    return Listing(entries, source.base, () if order is None else _classes(order), str(order or ""))


def _cells(text: str) -> list[str] | None:
    """Return the cells of a line: a video, the name of its class, the votes for and against it; None for other text."""
    cells = [cell.strip() for cell in text.split(",")]
    fits = len(cells) == 4 and cells[0].lower().endswith(VIDEO_SUFFIXES) and cells[1] and not is_number(cells[1])
    return cells if fits and is_number(cells[2]) and is_number(cells[3]) else None


def _classes(order: Path) -> tuple[str, ...]:
    lines = (text.rpartition(",") for _, text in data_lines(read_text(order).split("\n")))
    return in_order(order, ((name.strip(), number.strip()) for name, _, number in lines))
