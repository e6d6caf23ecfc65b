"""Lists that a function of the user reads (docs/extending.md)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from typing import Any

from videopool.data.lists.formats.entries import ListEntry, Listing
from videopool.data.lists.formats.list_source import ListSource
from videopool.errors import InputError
from videopool.targets import import_target


def read(source: ListSource) -> Listing:
    """Return the entries that the function gives, which must be ``ListEntry`` objects."""
    result: Any = import_target(source.reader, setting="source")(source.place, source.base)
    if not isinstance(result, Iterable):
        raise InputError(f"{source.reader} returned a {type(result).__name__}, not ListEntry objects", setting="source")
    entries = [_checked(source, number, entry) for number, entry in enumerate(result, start=1)]
    return Listing(entries, source.base)


def _checked(source: ListSource, number: int, entry: Any) -> ListEntry:
    """Return the entry with its place in the list, which the function may leave out, and its path as text."""
    where = f"{source.place}: entry {number} of {source.reader}"
    if not isinstance(entry, ListEntry):
        raise InputError(f"{where} is a {type(entry).__name__}, not a ListEntry", setting="source")
    if not os.fspath(entry.path):
        raise InputError(f"{where} has no path", setting="source")
    odd = next((label for label in entry.all_labels if not isinstance(label, str)), None)
    if odd is not None:
        raise InputError(f"{where}: label={odd!r} must be text: the name or number of a class", setting="source")
    return dataclasses.replace(entry, path=os.fspath(entry.path), file=entry.file or where)
