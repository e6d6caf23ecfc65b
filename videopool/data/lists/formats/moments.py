"""Moments in Time: ``path,label,agreeing,disagreeing`` without a header; ``moments_categories.txt`` (``name,number``).

Paths start at the folder of the videos, or at its folder ``training`` for ``trainingSet.csv`` and ``validation`` for
``validationSet.csv``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from videopool.data.lists.formats.classes import in_order
from videopool.data.lists.formats.entries import VIDEO_SUFFIXES, Entry, Listing, is_number
from videopool.data.lists.formats.files import beside
from videopool.data.lists.formats.text import data_lines, read_text
from videopool.errors import InputError

_ORDER = "moments_categories.txt"


def claims(lines: Sequence[str]) -> bool:
    """Whether the first line is one of Moments in Time."""
    return _cells(next((text for _, text in data_lines(lines)), "")) is not None


def _cells(text: str) -> list[str] | None:
    """The four cells of a line: a video, the name of its class, the votes for and against it."""
    cells = [cell.strip() for cell in text.split(",")]
    fits = len(cells) == 4 and cells[0].lower().endswith(VIDEO_SUFFIXES) and cells[1] and not is_number(cells[1])
    return cells if fits and is_number(cells[2]) and is_number(cells[3]) else None


def read(path: Path, lines: Sequence[str], base: Path) -> Listing:
    """The videos of a list, whatever their votes.

    Raises:
        InputError: naming file and line, for a line of another form.
    """
    order = beside(path, _ORDER)
    folder = base / path.stem.removesuffix("Set")
    prefix = f"{folder.name}/" if path.stem.endswith("Set") and folder.is_dir() else ""
    entries = []
    for number, text in data_lines(lines):
        cells = _cells(text)
        if cells is None:
            raise InputError(f"{path}:{number}: {text!r} is not 'path,label,votes,votes', as the first line is")
        entries.append(Entry(str(path), number, prefix + cells[0], cells[1]))
    if order is None:
        return Listing("moments", entries, base)
    return Listing("moments", entries, base, _classes(order), str(order))


def _classes(order: Path) -> tuple[str, ...]:
    lines = (text.rpartition(",") for _, text in data_lines(read_text(order).split("\n")))
    return in_order(order, ((name.strip(), number.strip()) for name, _, number in lines))
