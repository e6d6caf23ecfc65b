"""Which format a source has: decided by what it holds, except that tar files are known by their names."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from videopool.data.lists.formats import (
    charades,
    directories,
    epic_kitchens,
    hmdb51,
    json_lists,
    lines,
    moments,
    shards,
    tables,
    twentybn,
    ucf101,
    youtube,
)
from videopool.data.lists.formats.entries import SUFFIXES, Listing
from videopool.data.lists.formats.text import Table, header_of, read_text
from videopool.errors import InputError

_BEFORE_HEADER = re.compile(r"\s*|#.*|sep=.")
_GENERAL = {*tables.PATH_COLUMNS, *tables.LABEL_COLUMNS}  # a first line with one of these is a header
_KINETICS = {"youtube_id", "time_start", "time_end"}  # these and the next are in one kind of published table alone
_HACS = {"classname", "subset"}
_CHARADES = {"actions", "script"}
_EPIC = {"narration_id", "narration_timestamp", "verb_class", "noun_class"}
_PUBLISHED = (
    _KINETICS | _HACS | _CHARADES | _EPIC | {*epic_kitchens.COLUMNS, "id", "split", "is_cc", "start", "end", "length"}
)


def read_listing(place: Path, part: str, root: Path | None) -> Listing:
    """Return the videos of ``place``, a folder, a list, or one or more tar files.

    Args:
        place: where the source is, already found.
        part: the text after ``#`` in the source, "" without one.
        root: where paths start; None for the folder of the list.

    Raises:
        InputError: for a part if the format has none, and for the errors of the format's ``read``.
    """
    base = root or (place if place.is_dir() else place.parent)
    if place.is_dir():
        return _read_folder(place, part, base)
    if shards.is_shard(place):
        _refuse_part(place, part)
        found = shards.expanded(place)
        return shards.read(found, found[0].parent)
    text = read_text(place)
    if hmdb51.is_split_file(place, text):
        raise hmdb51.refuse(place, part)
    if json_lists.is_json(place, text):
        return json_lists.read(place, text, part, base)
    return _read_lines(place, text.split("\n"), part, base)


def _read_folder(place: Path, part: str, base: Path) -> Listing:
    if part and hmdb51.is_split_folder(place):
        return hmdb51.read(place, part, base)
    _refuse_part(place, part)
    listing = directories.read(place)
    if listing.entries:
        return listing
    if hmdb51.is_split_folder(place):
        raise hmdb51.refuse(place, part)
    inside = shards.inside(place)
    return shards.read(inside, place) if inside else listing


def _read_lines(place: Path, given: list[str], part: str, base: Path) -> Listing:
    text = _without_leading_comments(given)
    delimiter, columns = header_of(text)
    named = any(column.endswith(SUFFIXES) for column in columns)  # a video, whose class may be called label
    if not named and (_GENERAL & set(columns) or len(_PUBLISHED & set(columns)) > 1):
        return _read_table(Table(place, text, columns, delimiter, part), base)
    _refuse_part(place, part)
    words = set(next((line for line in text if line.strip()), "").lower().split())
    if len(words) > 1 and words <= _GENERAL:
        raise InputError(f"{place}:1: the columns of a table with a header are separated by commas or tabs, not spaces")
    if twentybn.claims(place, text):
        return twentybn.read(place, text, base)
    if ucf101.claims(place, text):
        return ucf101.read(place, text, base)
    if moments.claims(text):
        return moments.read(place, text, base)
    return lines.read(place, text, base)


def _without_leading_comments(text: list[str]) -> list[str]:
    """Empty the lines before a possible header that begin with ``#``, and Excel's ``sep=;``."""
    first = next((number for number, line in enumerate(text) if not _BEFORE_HEADER.fullmatch(line)), len(text))
    return ["" if number < first else line for number, line in enumerate(text)]


def _read_table(table: Table, base: Path) -> Listing:
    """Return the videos of a table. A published one is recognized by a column that no other has."""
    columns = set(table.columns)
    if columns & set(tables.PATH_COLUMNS):
        return tables.read(table, base)
    if columns & _EPIC or columns >= set(epic_kitchens.COLUMNS):
        return epic_kitchens.read(dataclasses.replace(table, part=""), table.part, base)
    if columns & _HACS and not columns >= set(youtube.KINETICS_COLUMNS):
        return youtube.read_hacs(table, base)
    if columns & _KINETICS:
        return youtube.read_kinetics(table, base)
    if columns & _CHARADES:
        return charades.read(table, base)
    return tables.read(table, base)


def _refuse_part(place: Path, part: str) -> None:
    if part:
        raise InputError(
            f"{place}: #{part} picks a part, but only split files of HMDB51 and tables with a column split or subset "
            "(and some published lists, docs/lists.md) have parts; leave it out"
        )
