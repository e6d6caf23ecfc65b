"""Tables of YouTube ids and spans: Kinetics and HACS.

Files are looked up by name in ``base`` and up to two folders below it. For Kinetics, ``<id>_<start>_<end>`` (six digits
each) is the clip; otherwise ``<id>`` or ``v_<id>`` is the whole video, of which the row's span is used. For HACS,
``v_<id>`` or ``<id>`` is the whole video. Many copies name clips like whole videos; such a file is recognized when it
is opened, because it is not longer than its span.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from videopool.data.lists.formats.column_names import ONLY_HACS, PART_COLUMNS
from videopool.data.lists.formats.entries import ListEntry, Listing, joined
from videopool.data.lists.formats.files import count_missing, find_file, missing_note, videos_by_name
from videopool.data.lists.formats.list_source import ListSource
from videopool.data.lists.formats.spans import filled_span, refuse_spans
from videopool.data.lists.formats.text import filled
from videopool.errors import InputError

_KINETICS = ("label", "youtube_id", "time_start", "time_end")
_UNLABELED = {*_KINETICS[1:], *PART_COLUMNS, "is_cc"}  # all columns of a published test list
_HACS = ("classname", "youtube_id", "subset", "start", "end", "label")


def claims_hacs(source: ListSource) -> bool:
    """Return whether the source is a table with columns of HACS, and not all of Kinetics."""
    return source.has_any(ONLY_HACS) and not source.published_columns.issuperset(_KINETICS)


def read_kinetics(source: ListSource) -> Listing:
    """Return the clips of a Kinetics table (``label,youtube_id,time_start,time_end,split[,is_cc]``).

    The path of a clip without a file is ``<label>/<id>_<start>_<end>.mp4``. The published test lists have no labels.
    """
    table = source.table
    labeled = not _UNLABELED.issuperset(table.columns)
    table.require("a list of Kinetics", _KINETICS if labeled else _KINETICS[1:])
    refuse_spans(table, _KINETICS)
    found = videos_by_name(source.base)
    entries = [_kinetics_entry(str(table.path), number, row, labeled, found) for number, row in table.rows()]
    _check_found(source, entries, found, "<id>_<start>_<end>.mp4 (six digits each) or <id>.mp4")
    return Listing(entries, source.base, note=missing_note(entries, found))


def _kinetics_entry(
    file: str, number: int, row: Mapping[str, str], labeled: bool, found: Mapping[str, list[str]]
) -> ListEntry:
    where = f"{file}:{number}"
    label, name = filled(where, row, "label") if labeled else "", filled(where, row, "youtube_id")
    start, end = filled_span(where, row, "time_start", "time_end")
    clip = f"{name}_{int(start):06d}_{int(end):06d}"
    whole = "" if clip in found else find_file(found, (name, f"v_{name}"), label, "")
    if whole:
        return _spanned(whole, label, start, end, file, number)
    path = find_file(found, [clip], label, f"{label or 'test'}/{clip}.mp4")
    return ListEntry(path, label, file=file, line=number)


def read_hacs(source: ListSource) -> Listing:
    """Return the positive clips of a HACS table (``classname,youtube_id,subset,start,end,label``).

    The path of a clip without a file is ``<classname>/v_<id>.mp4``. ``note`` counts the negative clips.
    """
    table = source.table
    table.require("the list of HACS clips", _HACS)
    refuse_spans(table, _HACS)
    found = videos_by_name(source.base)
    entries, rows = [], 0
    subset = ""
    for number, row in table.rows():
        if rows and row["subset"] != subset:
            raise InputError(
                f"{table.path} has more than one subset, such as {subset} and {row['subset']}. Select one: "
                f"{table.path}#{subset}"
            )
        subset, rows = row["subset"], rows + 1
        if row["label"] not in ("1", "-1"):
            where = f"{table.path}:{number}"
            raise InputError(f"{where}: label {row['label']!r} must be 1 (the class is shown) or -1 (it is not)")
        if row["label"] == "1":
            entries.append(_hacs_entry(str(table.path), number, row, found))
    _check_found(source, entries, found, "v_<id>.mp4 or <id>.mp4")
    negatives = f"{rows - len(entries)} negative clips (label -1) left out" if rows > len(entries) else ""
    return Listing(entries, source.base, note=joined(negatives, missing_note(entries, found)))


def _hacs_entry(file: str, number: int, row: Mapping[str, str], found: Mapping[str, list[str]]) -> ListEntry:
    where = f"{file}:{number}"
    label, name = filled(where, row, "classname"), filled(where, row, "youtube_id")
    start, end = filled_span(where, row, "start", "end")
    path = find_file(found, (f"v_{name}", name), label, f"{label}/v_{name}.mp4")
    return _spanned(path, label, start, end, file, number)


def _spanned(path: str, label: str, start: float, end: float, file: str, line: int) -> ListEntry:
    return ListEntry(path, label, start_seconds=start, end_seconds=end, may_be_cut=True, file=file, line=line)


def _check_found(source: ListSource, entries: Sequence[ListEntry], found: Mapping[str, list[str]], names: str) -> None:
    if entries and count_missing(entries, found) == len(entries):
        raise InputError(
            f"{source.place}: none of the {len(entries)} videos is in root={source.base} or the two levels of folders "
            f"below it as {names}; the first is {entries[0].path}. Set root to the folder of the videos.",
            setting="root",
        )
