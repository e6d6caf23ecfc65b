"""Read lists of videos and images, with or without labels, in all formats of docs/lists.md.

Images are videos of one frame.

The order of the classes is that of ``classes.txt`` next to the list, else the one that the data set brings along
(``classInd.txt`` and others), else that of the column ``label_id``, else the sorted names. Labels that are all numbers
count from 0.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from videopool.data.lists.existence import check_some_exist, with_suffixes
from videopool.data.lists.formats.catalog import find_format
from videopool.data.lists.formats.entries import SUFFIXES, ListEntry, joined
from videopool.data.lists.formats.list_source import ListSource
from videopool.data.lists.formats.shards import expanded, is_shard
from videopool.data.lists.labels import LabelNumbers, find_classes
from videopool.data.lists.manifest import is_manifest, open_manifest, with_classes
from videopool.data.lists.table import VideoTable, video_columns
from videopool.errors import InputError

_READER = re.compile(r"(?P<reader>[^\W\d]\w*(?:\.[^\W\d]\w*)+):(?P<source>.+)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class VideoList:
    """The videos of a list.

    Attributes:
        records: the videos; their ``label`` is a position in ``classes``, -1 in a list without labels.
        classes: the names of the classes.
        source: the list or folder, with its ``#part``.
        format: its name in docs/lists.md.
        note: a sentence about what was skipped or not found, or "".
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
    """Return the videos of ``source``; its content decides the format (docs/lists.md).

    Args:
        source: a folder of class folders, a list, a table, JSON, a manifest or tar files (``shards-{000..009}.tar``),
            followed by ``#part`` to use only a part. ``package.module.function:SOURCE`` is read by that function
            (docs/extending.md). The file is looked up below ``root`` first, then as given.
        root: the folder that relative paths start from; by default the one that contains the list.
        classes: names in label order, of a training list or a checkpoint; by default those of ``source``.

    Returns:
        The videos; ``unlabeled`` if the list has no labels at all.

    Raises:
        InputError: for a missing source or root, an empty list, an invalid line, a label that is not among ``classes``,
            labels of only some videos, and if none of the videos exists. A single missing video is not an error here;
            its decoding fails later.
    """
    found = _find_source(str(source), root)
    place = found.place
    if not (found.part or found.reader) and is_manifest(place):
        return _read_manifest(place, None if root is None else Path(root), classes)
    form = find_format(found)
    listing = form.read(found)
    if not listing.entries:
        skipped = f" ({listing.note})" if listing.note else ""
        raise InputError(f"{place}: no videos found; expected {_expected(found)}{skipped}")
    _check_all_or_none_labeled(listing.entries)
    listing = with_suffixes(listing)
    names, label_number = find_classes(place, listing, classes)
    table = VideoTable(_columns(listing.entries, listing.base, label_number), listing.base)
    check_some_exist(listing, place)
    name = f"{found.reader}:{place}" if found.reader else f"{place}#{found.part}" if found.part else str(place)
    note = joined(listing.note, _note_of_labels(table, names if classes is None else ()))
    return VideoList(table, names, name, form.name, note)


def _read_manifest(place: Path, root: Path | None, classes: Sequence[str] | None) -> VideoList:
    """Return the videos of a manifest, including those that cannot be read."""
    table, found = open_manifest(place, root)
    wanted = found if classes is None else tuple(classes)
    bad = table.count_bad()
    note = f"{bad} of {len(table)} videos could not be read by the scan" if bad else ""
    note = joined(note, _note_of_labels(table, found if classes is None else ()))
    return VideoList(with_classes(table, found, wanted, str(place)), wanted, str(place), "manifest", note)


def reader_of(given: str) -> str:
    """Return the function that reads the list ``given`` (``package.module.function:PLACE``); "" if none is named."""
    named = _READER.fullmatch(given)
    return named["reader"] if named else ""


def _find_source(given: str, root: str | Path | None) -> ListSource:
    """Return the source that ``given`` names; a ``#`` or a reader that belongs to the name of a file stays in it."""
    if root is not None and not Path(root).is_dir():
        raise InputError(f"root={root} is not a folder. Give the folder that contains the videos.", setting="root")
    folders = [Path()] if root is None else [Path(root), Path()]
    read_by = _READER.fullmatch(given)
    readings = [("", given), *([read_by.groups()] if read_by else [])]
    for reader, name in readings:
        before, _, after = name.rpartition("#")
        for place, part in [(name, ""), (before, after)] if before else [(name, "")]:
            for path in (folder / place for folder in folders):
                if path.exists() or (is_shard(path) and any(shard.exists() for shard in expanded(path))):
                    base = Path(root) if root is not None else path if path.is_dir() else path.parent
                    return ListSource(path, part, base, reader)
    looked = " or ".join(dict.fromkeys(str(folder / place) for folder in folders))
    raise InputError(
        f"{looked}: no such file or folder. Give a list of videos or a folder of class folders.", setting="source"
    )


def _expected(source: ListSource) -> str:
    suffixes = f"{', '.join(SUFFIXES[:4])} or another suffix listed in docs/lists.md"
    if source.reader:
        return f"ListEntry objects of {source.reader}"
    if source.is_folder:
        return f"a folder for each class with files that end in {suffixes}; or .tar files"
    if is_shard(source.place):
        return f"files in it that end in {suffixes}"
    return "a line 'path label' for each video, or a table with a header"


# --- notes and checks ----------------------------------------------------------------------------------------------


def _check_all_or_none_labeled(entries: Sequence[ListEntry]) -> None:
    """Raise InputError if only some videos have a label, unless videos may have several or none."""
    unlabeled = next((entry for entry in entries if not entry.label and entry.labels is None), None)
    labeled = next((entry for entry in entries if entry.all_labels), None)
    if unlabeled is not None and labeled is not None:
        raise InputError(
            f"{unlabeled.where}: {unlabeled.path!r} has no label, but {labeled.where} has one. Give every video a "
            "label ('path label'), or none."
        )


def _note_of_labels(table: VideoTable, classes: Sequence[str]) -> str:
    """Return sentences about the labels of a list, whose own classes are ``classes`` (() if they are given)."""
    if table.unlabeled:
        return "the list has no labels"
    several = int(np.count_nonzero(np.diff(table.columns["labels_ends"], prepend=0) > 1)) if table.several_labels else 0
    return joined(
        f"{several} of {len(table)} videos have several classes" if several else "",
        missing_zero(table, classes),
        _similar_names(classes),
    )


def missing_zero(table: VideoTable, classes: Sequence[str]) -> str:
    """Return a sentence if ``classes`` are numbers and no video of ``table`` has label 0, else ""."""
    counts = np.bincount(table.pairs()[1], minlength=len(classes))
    if len(classes) < 2 or classes[0] != "0" or counts[0]:
        return ""
    return "no video has label 0. Labels count from 0; if these count from 1, subtract 1 from each"


def _similar_names(classes: Sequence[str]) -> str:
    """Return a sentence about the first two classes whose names differ only in case and spaces, else ""."""
    names: dict[str, str] = {}
    for name in classes:
        other = names.setdefault(re.sub(r"(?<=\w)[\s_-]+", " ", name).casefold(), name)
        if other != name:
            return f"the names of the classes {other!r} and {name!r} are nearly the same; are they one class?"
    return ""


# --- columns -------------------------------------------------------------------------------------------------------


def _columns(entries: Sequence[ListEntry], base: Path, label_number: LabelNumbers) -> dict[str, np.ndarray]:
    _check_spans(entries)
    prefix = f"{base.as_posix()}/"
    paths = [entry.path.removeprefix(prefix) for entry in entries]
    if all(entry.labels is None for entry in entries):
        label = [label_number(entry, entry.label) if entry.label else -1 for entry in entries]
        return video_columns(entries, paths, label, None)
    labels = [sorted({label_number(entry, written) for written in entry.all_labels}) for entry in entries]
    return video_columns(entries, paths, [numbers[0] if numbers else -1 for numbers in labels], labels)


def _check_spans(entries: Sequence[ListEntry]) -> None:
    for entry in entries:
        if entry.end_seconds is not None and entry.end_seconds <= (entry.start_seconds or 0):
            raise InputError(
                f"{entry.where}: the span from {entry.start_seconds or 0:g} to {entry.end_seconds:g} s is empty"
            )
        if entry.end_frame is not None and entry.end_frame <= (entry.start_frame or 0):
            raise InputError(
                f"{entry.where}: the span from frame {entry.start_frame or 0} to {entry.end_frame} is empty. The end "
                "is the first frame after the span."
            )
