"""Lists of videos by their YouTube id and a span: Kinetics and HACS.

The files are looked for by name, in ``base`` and up to two folders below it: for Kinetics ``<id>_<start>_<end>``, the
times in six digits, which is the clip itself, else ``<id>`` or ``v_<id>``, which is the whole video and is read from
start to end of the row; for HACS ``v_<id>`` or ``<id>``, the whole video. Many copies name clips that were cut out so
too, which shows when a file is opened: it is no longer than its span.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from videopool.data.lists.formats.entries import Entry, Listing, joined
from videopool.data.lists.formats.files import chosen, count_missing, missing_note, videos_by_name
from videopool.data.lists.formats.spans import refuse_spans
from videopool.data.lists.formats.text import PART_COLUMNS, Table, seconds
from videopool.errors import InputError

KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
_UNLABELED = {*KINETICS_COLUMNS[1:], *PART_COLUMNS, "is_cc"}  # the columns of a published test list, at most
HACS_COLUMNS = ("classname", "youtube_id", "subset", "start", "end", "label")


def read_kinetics(table: Table, base: Path) -> Listing:
    """Return the clips of a Kinetics csv (``label,youtube_id,time_start,time_end,split[,is_cc]``).

    A clip without a file keeps its place, as ``<label>/<id>_<start>_<end>.mp4``. The published test lists have no
    labels.

    Raises:
        InputError: for a missing column, an empty or wrong cell, or when no file at all is found.
    """
    labeled = not _UNLABELED.issuperset(table.columns)
    table.require("a list of Kinetics", KINETICS_COLUMNS if labeled else KINETICS_COLUMNS[1:])
    refuse_spans(table, KINETICS_COLUMNS)
    found = videos_by_name(base)
    entries = [_kinetics_entry(str(table.path), number, row, labeled, found) for number, row in table.rows()]
    _check_found(table.path, base, entries, found, "<id>_<start>_<end>.mp4 (six digits each) or <id>.mp4")
    return Listing("kinetics", entries, base, note=missing_note(entries, found))


def _kinetics_entry(
    file: str, number: int, row: Mapping[str, str], labeled: bool, found: Mapping[str, list[str]]
) -> Entry:
    where = f"{file}:{number}"
    label, name = _filled(where, row, "label") if labeled else "", _filled(where, row, "youtube_id")
    start, end = _span(where, row, "time_start", "time_end")
    clip = f"{name}_{int(start):06d}_{int(end):06d}"
    if clip in found:
        return Entry(file, number, chosen(found[clip], label), label)
    whole = _first(found, (name, f"v_{name}"))
    if whole:
        return Entry(file, number, chosen(whole, label), label, start=start, end=end, may_be_cut=True)
    return Entry(file, number, f"{label or 'test'}/{clip}.mp4", label)


def read_hacs(table: Table, base: Path) -> Listing:
    """The positive clips of HACS (``classname,youtube_id,subset,start,end,label``); ``note`` counts the negatives.

    A clip without a file keeps its place, as ``<classname>/v_<id>.mp4``.

    Raises:
        InputError: for a missing column, an empty or wrong cell, several subsets without a choice of one, or when no
            file at all is found.
    """
    table.require("the list of HACS clips", HACS_COLUMNS)
    refuse_spans(table, HACS_COLUMNS)
    found = videos_by_name(base)
    entries, rows = [], 0
    subset = ""
    for number, row in table.rows():
        if rows and row["subset"] != subset:
            raise _several_subsets(table.path, subset, row["subset"])
        subset, rows = row["subset"], rows + 1
        if _is_positive(f"{table.path}:{number}", row):
            entries.append(_hacs_entry(str(table.path), number, row, found))
    _check_found(table.path, base, entries, found, "v_<id>.mp4 or <id>.mp4")
    negatives = f"{rows - len(entries)} negative clips (label -1) left out" if rows > len(entries) else ""
    return Listing("hacs", entries, base, note=joined(negatives, missing_note(entries, found)))


def _several_subsets(path: Path, *subsets: str) -> InputError:
    return InputError(
        f"{path} holds more than one subset, {' and '.join(subsets)} among them; pick one, as in {path}#{subsets[0]}"
    )


def _is_positive(where: str, row: Mapping[str, str]) -> bool:
    if row["label"] not in ("1", "-1"):
        raise InputError(f"{where}: label {row['label']!r} is neither 1 (the class is seen) nor -1 (it is not)")
    return row["label"] == "1"


def _hacs_entry(file: str, number: int, row: Mapping[str, str], found: Mapping[str, list[str]]) -> Entry:
    where = f"{file}:{number}"
    label, name = _filled(where, row, "classname"), _filled(where, row, "youtube_id")
    start, end = _span(where, row, "start", "end")
    whole = _first(found, (f"v_{name}", name))
    path = chosen(whole, label) if whole else f"{label}/v_{name}.mp4"
    return Entry(file, number, path, label, start=start, end=end, may_be_cut=True)


def _first(found: Mapping[str, list[str]], names: Sequence[str]) -> list[str]:
    return next((found[name] for name in names if name in found), [])


def _filled(where: str, row: Mapping[str, str], column: str) -> str:
    if not row[column]:
        raise InputError(f"{where}: column {column} is empty; give a list that names a class for every video")
    return row[column]


def _span(where: str, row: Mapping[str, str], *columns: str) -> tuple[float, float]:
    start, end = (seconds(where, _filled(where, row, column), column) for column in columns)
    if start is None or end is None or end <= start:  # filled cells are never None
        raise InputError(f"{where}: the span from {start} to {end} s is empty")
    return start, end


def _check_found(path: Path, base: Path, entries: Sequence[Entry], found: Mapping[str, list[str]], names: str) -> None:
    if entries and count_missing(entries, found) == len(entries):
        raise InputError(
            f"{path}: none of the {len(entries)} videos is in {base} or up to two folders below it as {names}, the "
            f"first being {entries[0].path}; set data.root to the folder of the videos"
        )
