"""Reading lists of videos and images, labeled or not, in every format of docs/lists.md.

Images are videos of one frame.

The order of the classes is that of ``classes.txt`` beside the list, else the one that the data set brings along
(``classInd.txt`` and others), else that of the column ``label_id``, else the sorted names. Labels that are all numbers
count from 0.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from videopool.data.lists.columns import text_columns
from videopool.data.lists.existence import check_some_exist, with_suffixes
from videopool.data.lists.formats.classes import CLASSES_FILE, read_classes, write_classes
from videopool.data.lists.formats.detect import read_listing
from videopool.data.lists.formats.entries import (
    SUFFIXES,
    VIDEO_SUFFIXES,
    Entry,
    Listing,
    is_number,
    joined,
    numbers_name,
)
from videopool.data.lists.formats.shards import expanded, is_shard
from videopool.data.lists.formats.tables import LABEL_LIMIT
from videopool.data.lists.manifest import is_manifest, open_manifest, with_classes
from videopool.data.lists.table import VideoTable, whole_column
from videopool.errors import InputError

__all__ = ["VIDEO_SUFFIXES", "VideoList", "missing_zero", "read_classes", "read_videos", "write_classes"]


@dataclasses.dataclass(frozen=True)
class VideoList:
    """Videos: ``label`` of a record is its class's place in ``classes``, -1 in a list without labels.

    ``source`` is the list or folder they come from; ``format`` is its name in docs/lists.md; ``note`` says what was
    left out or not found, "" where nothing was.
    """

    records: VideoTable
    classes: tuple[str, ...]
    source: str
    format: str
    note: str = ""

    @property
    def several_labels(self) -> bool:
        """Whether a video may have several classes, or none."""
        return self.records.several_labels

    @property
    def unlabeled(self) -> bool:
        """Whether no video has a label."""
        return self.records.unlabeled

    def __repr__(self) -> str:
        note = f"; {self.note}" if self.note else ""
        return f"VideoList({self.source}: {len(self.records)} videos, {len(self.classes)} classes, {self.format}{note})"


def read_videos(source: str | Path, root: str | Path | None = None, classes: Sequence[str] | None = None) -> VideoList:
    """Read the videos of ``source``; its content decides the format (docs/lists.md).

    Args:
        source: a folder of class folders, a list, a table, a json, a manifest or tar files
            (``shards-{000..009}.tar``), followed by ``#part`` if only a part is meant; looked for below ``root`` first,
            then as given.
        root: what relative paths start from; by default the folder that holds the list.
        classes: names in label order, of a training list or a checkpoint; by default they come from ``source``.

    Returns:
        The videos; ``unlabeled`` if the list has no labels at all.

    Raises:
        InputError: naming file and line, for a missing source or root, an empty list, a line that cannot be understood,
            a label that is not among ``classes``, labels that only some videos have, or if none of the videos exists.
            A single missing video is left to the decoder.
    """
    place, part = _find_source(str(source), root)
    if not part and is_manifest(place):
        return _read_manifest(place, None if root is None else Path(root), classes)
    listing = read_listing(place, part, Path(root) if root is not None else None)
    if not listing.entries:
        passed_over = f" ({listing.note})" if listing.note else ""
        raise InputError(f"{place}: no videos found; expected {_expected(place)}{passed_over}")
    _check_all_or_none_labeled(listing.entries)
    listing = with_suffixes(listing)
    told, teller = _told_classes(place, listing)
    names = tuple(classes) if classes is not None else told or _class_names(listing)
    labels = _Labels(names, told, teller, names_only=listing.format == "directories" or numbers_name(told or names))
    columns = _columns(listing.entries, listing.base, labels)
    check_some_exist(listing, place)
    name = f"{place}#{part}" if part else str(place)
    table = VideoTable(columns, listing.base)
    note = joined(listing.note, _note_of_labels(table, names if classes is None else ()))
    return VideoList(table, names, name, listing.format, note)


def _check_all_or_none_labeled(entries: Sequence[Entry]) -> None:
    """Refuse a list in which some videos have a label and others not, unless its videos may have several or none."""
    unlabeled = next((entry for entry in entries if not entry.label and entry.labels is None), None)
    labeled = next((entry for entry in entries if entry.written), None)
    if unlabeled is not None and labeled is not None:
        raise InputError(
            f"{unlabeled.where}: {unlabeled.path!r} has no label, but {labeled.where} has one; give every video a "
            "label ('path label'), or none"
        )


def _note_of_labels(table: VideoTable, classes: Sequence[str]) -> str:
    """Sentences on the labels of a list, whose own classes are ``classes`` (() where they come from elsewhere)."""
    if table.unlabeled:
        return "the list has no labels"
    several = int(np.count_nonzero(np.diff(table.columns["labels_ends"], prepend=0) > 1)) if table.several_labels else 0
    return joined(
        f"{several} of {len(table)} videos have several classes" if several else "",
        missing_zero(table, classes),
        _alike(classes),
    )


def _alike(classes: Sequence[str]) -> str:
    """Return a sentence on the first two classes whose names differ in case and blanks alone, else ""."""
    names: dict[str, str] = {}
    for name in classes:
        other = names.setdefault(re.sub(r"(?<=\w)[\s_-]+", " ", name).casefold(), name)
        if other != name:
            return f"the classes {other!r} and {name!r} have nearly the same name; are they one?"
    return ""


def missing_zero(table: VideoTable, classes: Sequence[str]) -> str:
    """Return a sentence where ``classes`` are numbers and no video of ``table`` has label 0, else ""."""
    counts = np.bincount(table.pairs()[1], minlength=len(classes))
    if len(classes) < 2 or classes[0] != "0" or counts[0]:
        return ""
    return "no video has label 0; labels count from 0, do these count from 1? If so, subtract 1 from each"


def _read_manifest(place: Path, root: Path | None, classes: Sequence[str] | None) -> VideoList:
    """Return the videos of a manifest (tools/prepare.py scan), including those that cannot be read."""
    table, found = open_manifest(place, root)
    wanted = found if classes is None else tuple(classes)
    bad = table.count_bad()
    note = f"{bad} of its {len(table)} videos cannot be read, as the scan found" if bad else ""
    note = joined(note, _note_of_labels(table, found if classes is None else ()))
    return VideoList(with_classes(table, found, wanted, str(place)), wanted, str(place), "manifest", note)


def _find_source(source: str, root: str | Path | None) -> tuple[Path, str]:
    """Return the path of the source and its part: the text after the last ``#``, unless the name includes it."""
    if root is not None and not Path(root).is_dir():
        raise InputError(f"data.root={root}: no such folder; give the folder that holds the videos")
    before, _, part = source.rpartition("#")
    readings = [(source, ""), (before, part)] if before else [(source, "")]
    folders = [Path()] if root is None else [Path(root), Path()]
    for name, part in readings:
        for folder in folders:
            place = folder / name
            if place.exists() or (is_shard(place) and any(shard.exists() for shard in expanded(place))):
                return place, part
    looked = " or ".join(dict.fromkeys(str(folder / readings[-1][0]) for folder in folders))
    raise InputError(f"{looked}: no such file or folder; give a list of videos or a folder of class folders")


def _expected(place: Path) -> str:
    suffixes = f"ending in {' '.join(SUFFIXES[:4])} or another suffix of docs/lists.md"
    if place.is_dir():
        return f"folders named after the classes that hold files {suffixes}, or .tar files of them"
    if is_shard(place):
        return f"members {suffixes}"
    return "a line 'path label' for each video, or a table with a header"


# --- labels --------------------------------------------------------------------------------------------------------


def _told_classes(place: Path, listing: Listing) -> tuple[tuple[str, ...], str]:
    """Return the classes in the order of classes.txt, else of the data set, else (); and the file they are in."""
    folders = (place, place.parent) if place.is_dir() else (place.parent,)
    beside = next((folder / CLASSES_FILE for folder in folders if (folder / CLASSES_FILE).is_file()), None)
    if beside is not None:
        return read_classes(beside), str(beside)
    return listing.classes, listing.order


def _class_names(listing: Listing) -> tuple[str, ...]:
    labels = {label for entry in listing.entries for label in entry.written}
    if listing.format == "directories":
        return tuple(sorted(labels))
    if all(is_number(label) for label in labels):
        return tuple(str(number) for number in range(_largest_label(listing.entries) + 1))
    with_id = [entry.label_id is not None for entry in listing.entries]
    if all(with_id):
        return _names_by_id(listing.entries)
    if any(with_id):
        where = listing.entries[with_id.index(False)].where
        raise InputError(f"{where}: label_id is empty, but not in other rows; give it in all of them, or leave it out")
    if all(map(_is_figure, labels)):
        odd, written = next((e, label) for e in listing.entries for label in e.written if not is_number(label))
        raise InputError(f"{odd.where}: label {written} is no class number; expected whole numbers from 0 on, or names")
    return tuple(sorted(labels))


def _is_figure(label: str) -> bool:
    """Whether ``label`` is a number of any kind, such as -1 and 1.0, and so not a name."""
    try:
        float(label)
    except ValueError:
        return False
    return True


def _largest_label(entries: Sequence[Entry]) -> int:
    numbers = ((int(label), entry) for entry in entries for label in entry.written)
    largest, where = max(numbers, key=lambda pair: pair[0], default=(-1, entries[0]))
    if largest >= LABEL_LIMIT:
        raise InputError(f"{where.where}: label {largest} is no class number; expected less than {LABEL_LIMIT}")
    return largest


def _names_by_id(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return the names in the order of ``label_id``; a number without videos is its own name."""
    names: dict[int, str] = {}
    numbers: dict[str, int] = {}
    for entry in entries:
        number = entry.label_id
        assert number is not None
        if names.setdefault(number, entry.label) != entry.label:
            raise InputError(f"{entry.where}: label_id {number} is {entry.label!r} here, {names[number]!r} above")
        if numbers.setdefault(entry.label, number) != number:
            raise InputError(f"{entry.where}: {entry.label!r} is label_id {number} here, {numbers[entry.label]} above")
    return tuple(names.get(number, str(number)) for number in range(max(names) + 1))


class _Labels:
    """Turns labels as written into places in ``classes``.

    Numbers are places in ``told``, the order given by the file ``teller``, unless labels are ``names_only``.
    """

    def __init__(self, classes: tuple[str, ...], told: tuple[str, ...], teller: str, *, names_only: bool) -> None:
        self._classes = classes
        self._told = told
        self._teller = teller
        self._places = {name: place for place, name in enumerate(classes)}
        self._names_only = names_only
        self._found = dict(self._places)

    def __call__(self, entry: Entry, written: str) -> int:
        place = self._found.get(written)
        if place is None:
            place = self._found[written] = self._numbered(entry, written)
        return place

    def _numbered(self, entry: Entry, written: str) -> int:
        order = self._told or self._classes
        if self._names_only or not is_number(written) or int(written) >= len(order):
            raise self._unknown(entry, repr(written))
        if not self._told:
            return int(written)
        name = self._told[int(written)]
        if name not in self._places:
            raise self._unknown(entry, f"{written!r}, {name!r} in {self._teller},")
        return self._places[name]

    def _unknown(self, entry: Entry, written: str) -> InputError:
        origin = f" of {self._teller}" if self._told == self._classes else ""
        more = "; do these count from 1?" if written.strip("'") == str(len(self._classes)) else ""
        outer, inner, *below = [*entry.path.split("/"), ""]
        if self._names_only and below and inner in self._places:
            more = f"; {inner} in it is one, so give the folder {outer}"
        numbers = "" if self._names_only else f", or numbers from 0 to {len(self._classes) - 1}"
        near = [] if more else _similar(written.strip("'"), self._classes)
        more = f"; did you mean {near[0]!r}?" if near else more
        return InputError(
            f"{entry.where}: label {written} is not among the {len(self._classes)} classes "
            f"({_some(self._classes)}){origin}; labels are names{numbers}{more}"
        )


def _similar(written: str, classes: Sequence[str]) -> list[str]:
    """Return the class that ``written`` may mean, in other letters: none or one."""
    folded = {name.casefold(): name for name in classes}
    return [folded[name] for name in difflib.get_close_matches(written.casefold(), folded, n=1, cutoff=0.8)]


def _some(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:4]) + (", ..." if len(classes) > 4 else "")


# --- columns -------------------------------------------------------------------------------------------------------


def _columns(entries: Sequence[Entry], base: Path, labels: _Labels) -> dict[str, np.ndarray]:
    """Return the columns that ``record_columns`` makes of records, without an object for each video."""
    prefix = f"{base.as_posix()}/"
    path, path_ends = text_columns([entry.path.removeprefix(prefix) for entry in entries])
    columns = {"path": path, "path_ends": path_ends, **_label_columns(entries, labels), **_span_columns(entries)}
    if any(entry.part for entry in entries):
        parts = np.array([entry.part or (0, -1) for entry in entries], dtype=np.int64)
        columns["part_offset"], columns["part_size"] = parts[:, 0].copy(), parts[:, 1].copy()
    for name in ("frames", "start_frame", "end_frame"):
        columns.update(whole_column(name, [getattr(entry, name) for entry in entries]))
    if any(entry.may_be_cut for entry in entries):
        columns["may_be_cut"] = np.array([entry.may_be_cut for entry in entries], dtype=np.bool_)
    return columns


def _label_columns(entries: Sequence[Entry], labels: _Labels) -> dict[str, np.ndarray]:
    if all(entry.labels is None for entry in entries):
        places = [labels(entry, entry.label) if entry.label else -1 for entry in entries]
        return {"label": np.array(places, dtype=np.int32)}
    several = [sorted({labels(entry, written) for written in entry.written}) for entry in entries]
    return {
        "label": np.array([places[0] if places else -1 for places in several], dtype=np.int32),
        "labels": np.array([place for places in several for place in places], dtype=np.int32),
        "labels_ends": np.cumsum([len(places) for places in several], dtype=np.int64),
    }


def _span_columns(entries: Sequence[Entry]) -> dict[str, np.ndarray]:
    for entry in entries:
        if entry.end is not None and entry.end <= (entry.start or 0):
            raise InputError(f"{entry.where}: the span from {entry.start or 0:g} to {entry.end:g} s is empty")
        if entry.end_frame is not None and entry.end_frame <= (entry.start_frame or 0):
            raise InputError(
                f"{entry.where}: the span from frame {entry.start_frame or 0} to {entry.end_frame} is empty; the end "
                "is the first frame after it"
            )
    columns = {}
    for name, times in (("start", [entry.start for entry in entries]), ("end", [entry.end for entry in entries])):
        if any(time is not None for time in times):
            columns[name] = np.array(times, dtype=np.float64)  # None becomes NaN
    return columns
