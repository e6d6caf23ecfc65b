"""Text files of numbers, one for each video or class."""

from __future__ import annotations

import math
from pathlib import Path

from videopool.errors import InputError
from videopool.ranges import Range


def read_numbers(
    path: Path, *, count: int, items: str, allowed: Range, setting: str, form: str, counting: str, value: str = ""
) -> list[float]:
    """Read a text file of ``count`` numbers, one in each line.

    Args:
        path: the file.
        count: how many numbers are expected.
        items: what has a number, such as ``"videos"``.
        allowed: the range of each number.
        setting: the argument that names the file, for errors.
        form, counting, value: sentences that say what to do about a file that cannot be read, another number of lines,
            and a wrong number.

    Raises:
        InputError: for each of these.
    """
    try:
        lines = path.read_text(encoding="utf-8").rstrip().splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read ({reason}). {form}", setting=setting) from None
    if len(lines) != count:
        raise InputError(f"{path} has {len(lines)} lines for {count} {items}. {counting}", setting=setting)
    numbers = [_number(line) for line in lines]
    for place, number in enumerate(numbers):
        if number not in allowed:
            wanted = f"{'' if allowed.above else 'of '}{allowed}"
            message = f"{path}:{place + 1}: {lines[place]!r} must be a number {wanted}. {value}"
            raise InputError(message.rstrip(), setting=setting)
    return numbers


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
