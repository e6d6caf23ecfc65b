"""Checks of lists in which a video has several labels."""

from __future__ import annotations

from collections.abc import Sequence

from videopool.data.lists.formats.entries import Entry
from videopool.errors import InputError


def refuse_flags(entries: Sequence[Entry]) -> None:
    """Raise InputError for a list with one 0 or 1 for each class (``0 1 0 0``) instead of the numbers of the classes.

    Such flags are recognized by their equal number in every row, in which some 0 or 1 stands twice.
    """
    rows = [entry.written for entry in entries]
    flags = all(len(row) == len(rows[0]) and {*row} <= {"0", "1"} for row in rows)
    repeated = next((entry for entry, row in zip(entries, rows, strict=True) if len({*row}) < len(row)), None)
    if flags and repeated is not None:
        raise InputError(
            f"{repeated.where}: {' '.join(repeated.written)} seems to have one 0 or 1 for each class; give the numbers "
            "of the classes that the video has"
        )
