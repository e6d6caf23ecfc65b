"""Lists of UCF101: ``trainlist01.txt`` with numbers that count from 1, ``testlist01.txt`` without, ``classInd.txt``.

A list is one of UCF101 when its first line is ``Class/v_Class_g01_c01.avi`` with no number behind it, or with the one
that classInd.txt gives the class (a list that counts from 0 is a plain one). The class is the name of the folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from videopool.data.lists.formats.classes import in_order
from videopool.data.lists.formats.entries import Entry, Listing
from videopool.data.lists.formats.files import beside
from videopool.data.lists.formats.text import data_lines, read_text
from videopool.errors import InputError

_ORDER = "classInd.txt"
_LINE = re.compile(
    r"^(?P<path>(?:\S+/)?(?P<folder>[^/\s]+)/v_(?P=folder)_g\d+_c\d+\.\w+)(?:\s+(?P<number>\d+))?$",
    re.IGNORECASE,  # v_HandStandPushups_g01_c01.avi lies in HandstandPushups
)


def claims(path: Path, lines: Sequence[str]) -> bool:
    """Whether the lines are a list of UCF101.

    Raises:
        InputError: where this depends on classInd.txt, which is missing.
    """
    first = next((_LINE.match(text) for _, text in data_lines(lines)), None)
    if first is None:
        return False
    order = beside(path, _ORDER)
    if order is not None:
        return first["number"] in (None, str(_numbers(_classes(order)).get(first["folder"])))
    if first["number"] and any(text.endswith(" 0") for _, text in data_lines(lines)):
        return False
    raise InputError(
        f"{path}: this list of UCF101 needs {_ORDER} for the order of its classes; put it into {path.parent} or the "
        "folder above"
    )


def read(path: Path, lines: Sequence[str], base: Path) -> Listing:
    """The videos of a list of UCF101.

    Raises:
        InputError: naming file and line, for a line of another form, a folder that is not a class of classInd.txt, and
            a number that is not that of the folder.
    """
    order = beside(path, _ORDER)
    assert order is not None  # claims() has seen it
    classes = _classes(order)
    numbers = _numbers(classes)
    entries = [_entry(str(path), number, text, numbers) for number, text in data_lines(lines)]
    return Listing("ucf101", entries, base, classes, str(order))


def _entry(file: str, line: int, text: str, numbers: dict[str, int]) -> Entry:
    match = _LINE.match(text)
    if match is None:
        raise InputError(f"{file}:{line}: {text!r} is not 'Class/v_Class_g01_c01.avi', as the first line is")
    folder = match["folder"]
    if folder not in numbers:
        raise InputError(f"{file}:{line}: {folder!r} is not a class of {_ORDER}; correct one of the two")
    if match["number"] and int(match["number"]) != numbers[folder]:
        raise InputError(
            f"{file}:{line}: class {folder} has the number {match['number']} here and {numbers[folder]} in {_ORDER}; "
            "correct one of the two"
        )
    return Entry(file, line, match["path"], folder)


def _classes(order: Path) -> tuple[str, ...]:
    lines = (text.partition(" ") for _, text in data_lines(read_text(order).split("\n")))
    return in_order(order, ((name.strip(), number) for number, _, name in lines), first=1)


def _numbers(classes: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(classes, start=1)}
