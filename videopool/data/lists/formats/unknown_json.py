"""JSON in no known form."""

from __future__ import annotations

from videopool.data.lists.formats.entries import Listing
from videopool.data.lists.formats.json_text import EXPECTED, description
from videopool.data.lists.formats.source import Source
from videopool.errors import InputError


def claims(source: Source) -> bool:
    """Return whether the source is JSON."""
    return source.json is not None


def refuse(source: Source) -> Listing:
    """Raise InputError that describes the JSON."""
    raise InputError(
        f"{source.place}: expected {EXPECTED}, but found {description(source.json)}. Write a table with the header "
        "path,label instead."
    )
