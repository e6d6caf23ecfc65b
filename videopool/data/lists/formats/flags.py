"""A check of lists whose videos may have several labels."""

from __future__ import annotations

from collections.abc import Sequence

from videopool.data.lists.formats.entries import ListEntry
from videopool.errors import InputError


def refuse_flags(entries: Sequence[ListEntry]) -> None:
    """Raise InputError for a list with one 0 or 1 per class (``0 1 0 0``) instead of class numbers.

    In such a list all rows have equally many labels, all 0 or 1, and some row repeats one.
    """
    rows = [entry.all_labels for entry in entries]
    flags = all(len(row) == len(rows[0]) and {*row} <= {"0", "1"} for row in rows)
    repeated = next((entry for entry, row in zip(entries, rows, strict=True) if len({*row}) < len(row)), None)
    if flags and repeated is not None:
        raise InputError(
            f"{repeated.where}: {' '.join(repeated.all_labels)} looks like one 0 or 1 per class. Give the numbers of "
            "the classes that the video has."
        )
