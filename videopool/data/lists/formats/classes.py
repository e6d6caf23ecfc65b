"""The order of classes in files: which name has which number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from videopool.data.lists.formats.text import read_text
from videopool.errors import InputError
from videopool.files import written_whole

CLASSES_FILE = "classes.txt"
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_classes(path: str | Path) -> tuple[str, ...]:
    """Return the names in ``path``, one a line, in label order.

    Raises:
        InputError: for a file that cannot be read or holds no names, an empty line between names, and a name that
            occurs twice.
    """
    names = [line.strip() for line in read_text(Path(path)).rstrip().split("\n")]
    check_names(str(path), names)
    return tuple(names)


def write_classes(path: str | Path, classes: Sequence[str]) -> None:
    """Write ``classes`` to ``path``, one a line, so that ``read_classes`` gives them back.

    Raises:
        InputError: for names that a line cannot hold (empty, with line breaks, zeros or blanks at an end), that are not
            UTF-8 (Python holds such bytes in names of folders as surrogates), or that occur twice.
    """
    check_names(str(path), classes)
    with written_whole(Path(path)) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")


def check_names(path: str, names: Sequence[str]) -> None:
    """Raise InputError for names that cannot be those of classes in the file ``path``; see ``write_classes``."""
    lines: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name or name != name.strip() or any(character in name for character in "\n\r\0"):
            raise InputError(
                f"{path}:{number}: {name!r} is no class name; expected one name a line, without blanks around it "
                "or empty lines"
            )
        if _SURROGATE.search(name):
            raise InputError(f"{path}: the class name {name!r} cannot stand in a list (UTF-8); rename the class")
        if lines.setdefault(name, number) != number:
            raise InputError(f"{path}:{number}: class {name!r} is in line {lines[name]} already; name it once")


def in_order(file: str | Path, numbered: Iterable[tuple[str, str]], *, first: int = 0) -> tuple[str, ...]:
    """Return the names in the order of their numbers, which must count from ``first`` without gaps.

    Args:
        file: the file they are in, for messages.
        numbered: (name, number as written) of each class.
        first: the number of the first class.

    Raises:
        InputError: for a number that is none, is missing or occurs twice, and for a name that occurs twice.
    """
    names: dict[int, str] = {}
    for name, written in numbered:
        if not (name and written.isascii() and written.isdigit()):
            raise InputError(f"{file}: class {name!r} has the number {written!r}; expected a name and a whole number")
        if names.setdefault(int(written), name) != name:
            raise InputError(f"{file}: number {written} is {names[int(written)]!r} and {name!r}; give each a number")
    missing = next((number for number in range(first, first + len(names)) if number not in names), None)
    if missing is not None or not names:
        raise InputError(f"{file}: no class has the number {missing or first}; numbers count from {first} without gaps")
    numbers: dict[str, int] = {}
    for number in sorted(names):
        if numbers.setdefault(names[number], number) != number:
            raise InputError(
                f"{file}: class {names[number]!r} is number {numbers[names[number]]} and {number}; it can have one"
            )
    return tuple(numbers)
