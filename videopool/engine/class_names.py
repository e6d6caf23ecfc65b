"""Compare the class names of two files."""

from __future__ import annotations

from collections.abc import Sequence


def class_difference(found: Sequence[str], expected: Sequence[str]) -> str:
    """Return how the class names ``found`` differ from those ``expected``, such as ``"class 1 is 'x', not 'b'"``.

    Where the names are the same, the number of classes of a video must be what differs.
    """
    for number, (one, other) in enumerate(zip(found, expected, strict=False)):
        if one != other:
            return f"class {number} is {one!r}, not {other!r}"
    if len(found) != len(expected):
        return f"{len(found)} classes, not {len(expected)}"
    return "one of them is of videos with several classes each"
