"""Files that give the order of classes: which name has which number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from videopool.data.lists.formats.entries import is_number
from videopool.data.lists.formats.text import read_text
from videopool.errors import InputError
from videopool.files import atomic_write

CLASSES_FILE = "classes.txt"
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_classes(path: str | Path) -> tuple[str, ...]:
    """Return the class names in ``path``, one a line, in label order.

    Raises:
        InputError: for a file that cannot be read or is empty, an empty line, and a name that occurs twice.
    """
    names = [line.strip() for line in read_text(Path(path)).rstrip().split("\n")]
    check_names(str(path), names)
    return tuple(names)


def write_classes(path: str | Path, classes: Sequence[str]) -> None:
    """Write ``classes`` to ``path``, one a line, for ``read_classes``.

    Raises:
        InputError: for a name that a line cannot hold (empty, with line breaks, zeros or outer spaces), that is not
            UTF-8 (Python has such bytes of folder names as surrogates), or that occurs twice.
    """
    check_names(str(path), classes)
    with atomic_write(Path(path)) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")


def check_names(path: str, names: Sequence[str]) -> None:
    """Raise InputError for names that the classes of the file ``path`` cannot have; see ``write_classes``."""
    lines: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name or name != name.strip() or any(character in name for character in "\n\r\0"):
            raise InputError(
                f"{path}:{number}: {name!r} cannot be a class name. Write one name on each line, without empty lines "
                "or outer spaces."
            )
        if _SURROGATE.search(name):
            raise InputError(f"{path}: the class name {name!r} cannot be written as UTF-8. Rename the class.")
        if lines.setdefault(name, number) != number:
            raise InputError(f"{path}:{number}: class {name!r} is already on line {lines[name]}. Name it once.")


def in_order(file: str | Path, numbered: Iterable[tuple[str, str]], *, first: int = 0) -> tuple[str, ...]:
    """Return names in the order of their numbers, which must count from ``first`` without gaps.

    Args:
        file: the file that gives them, for error messages.
        numbered: (name, number as written) of each class.
        first: the number of the first class.
    """
    names: dict[int, str] = {}
    for name, written in numbered:
        if not (name and is_number(written)):
            raise InputError(f"{file}: class {name!r} has the number {written!r}; expected a name and a whole number")
        if names.setdefault(int(written), name) != name:
            raise InputError(
                f"{file}: number {written} is {names[int(written)]!r} and {name!r}. Give each class its own number."
            )
    missing = next((number for number in range(first, first + len(names)) if number not in names), None)
    if missing is not None or not names:
        raise InputError(f"{file}: no class has the number {missing or first}. Count from {first} without gaps.")
    numbers: dict[str, int] = {}
    for number in sorted(names):
        if numbers.setdefault(names[number], number) != number:
            raise InputError(
                f"{file}: class {names[number]!r} has the numbers {numbers[names[number]]} and {number}. Keep one."
            )
    return tuple(numbers)
