"""UCF101: ``trainlist01.txt`` with numbers that count from 1, ``testlist01.txt`` without numbers, ``classInd.txt``.

The first line of such a list is ``Class/v_Class_g01_c01.avi``, alone or with the number that classInd.txt gives the
class (a list that counts from 0 is a plain one). The class is the name of the folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from videopool.data.lists.formats.classes import in_order
from videopool.data.lists.formats.entries import ListEntry, Listing
from videopool.data.lists.formats.files import find_next_to, require_next_to
from videopool.data.lists.formats.list_source import ListSource
from videopool.data.lists.formats.text import data_lines, read_text
from videopool.errors import InputError

_CLASSES = "classInd.txt"
_LINE = re.compile(
    r"^(?P<path>(?:\S+/)?(?P<folder>[^/\s]+)/v_(?P=folder)_g\d+_c\d+\.\w+)(?:\s+(?P<number>\d+))?$",
    re.IGNORECASE,  # v_HandStandPushups_g01_c01.avi is in HandstandPushups
)


def claims(source: ListSource) -> bool:
    """Return whether the source is a list of UCF101. Raises InputError if that depends on a missing classInd.txt."""
    first = _LINE.match(source.first_line)
    if first is None:
        return False
    from_zero = first["number"] and any(text.endswith(" 0") for _, text in data_lines(source.lines))
    order = find_next_to(source.place, _CLASSES) if from_zero else require_next_to(source.place, "UCF101", _CLASSES)
    return order is not None and first["number"] in (None, str(_numbers(_classes(order)).get(first["folder"])))


def read(source: ListSource) -> Listing:
    """Return the videos of a list."""
    order = require_next_to(source.place, "UCF101", _CLASSES)
    classes = _classes(order)
    numbers = _numbers(classes)
    entries = [_entry(str(source.place), line, text, numbers) for line, text in data_lines(source.lines)]
    return Listing(entries, source.base, classes, str(order))


def _entry(file: str, line: int, text: str, numbers: dict[str, int]) -> ListEntry:
    match = _LINE.match(text)
    if match is None:
        raise InputError(f"{file}:{line}: {text!r} is not 'Class/v_Class_g01_c01.avi' like the first line")
    folder = match["folder"]
    if folder not in numbers:
        raise InputError(f"{file}:{line}: {folder!r} is not a class of {_CLASSES}. Correct one of the two.")
    if match["number"] and int(match["number"]) != numbers[folder]:
        raise InputError(
            f"{file}:{line}: class {folder} has the number {match['number']} here, but {numbers[folder]} in "
            f"{_CLASSES}. Correct one of the two."
        )
    return ListEntry(match["path"], folder, file=file, line=line)


def _classes(order: Path) -> tuple[str, ...]:
    lines = (text.partition(" ") for _, text in data_lines(read_text(order).split("\n")))
    return in_order(order, ((name.strip(), number) for number, _, name in lines), first=1)


def _numbers(classes: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(classes, start=1)}
