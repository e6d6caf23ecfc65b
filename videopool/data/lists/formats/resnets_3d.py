"""3D-ResNets-PyTorch: ``{"labels": [...], "database": {name: {"subset", "annotations": {"label", "segment"}}}}``.

``labels`` is the order of the classes. ``segment`` is ``[first, end]`` in frames that count from 1, the end exclusive.
``#training``, ``#validation`` and ``#testing`` select a subset; the testing subset may have no labels. A video is the
folder of frames ``<label>/<name>``, or ``<name>.mp4`` or another suffix, in ``base`` or up to two folders below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videopool.data.lists.formats.activitynet import database_of, select_subset
from videopool.data.lists.formats.entries import ListEntry, Listing, counted, joined
from videopool.data.lists.formats.files import find_video, missing_note, videos_by_name
from videopool.data.lists.formats.list_source import ListSource
from videopool.errors import InputError


def claims(source: ListSource) -> bool:
    """Return whether a video of the source's database has one annotation, an object, instead of a list of them."""
    videos = database_of(source).values()
    return any(isinstance(video, dict) and isinstance(video.get("annotations"), dict) for video in videos)


def read(source: ListSource) -> Listing:
    """Return the videos of one subset; ``note`` counts those without frames (segment ``[1, 1]``), which are omitted."""
    labels = source.json.get("labels")
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise InputError(f"{source.place}: 'labels' next to 'database' must be a list of class names")
    videos = select_subset(source)
    found = videos_by_name(source.base, frames=videos.keys())
    listed = [
        _entry(source.place, name, video.get("annotations"), set(labels), found) for name, video in videos.items()
    ]
    entries = [entry for entry in listed if entry.end_frame != 0]
    empty = len(listed) - len(entries)
    left_out = f"{counted(empty, 'video')} without frames (segment [1, 1]) left out" if empty else ""
    note = joined(left_out, missing_note(entries, found))
    return Listing(entries, source.base, tuple(labels), str(source.place), note)


def _entry(path: Path, name: str, annotation: Any, known: set[str], found: Mapping[str, list[str]]) -> ListEntry:
    where = f"{path}: video {name}"
    if not isinstance(annotation, dict):
        raise InputError(f"{where}: expected annotations with label and segment, but found {annotation!r}")
    label = annotation.get("label", "")
    if label and label not in known:
        raise InputError(f"{where}: label {label!r} is not among the 'labels' of the file. Correct one of the two.")
    first, end = _segment(where, annotation.get("segment"))
    place, frames = find_video(found, name, label, f"{label or 'test'}/{name}")
    return ListEntry(place, label, start_frame=first, end_frame=end, frames=frames, file=where)


def _segment(where: str, segment: Any) -> tuple[int | None, int | None]:
    """Return (start, end) in frames from 0; (None, None) without a segment."""
    if segment is None:
        return None, None
    whole = isinstance(segment, list) and len(segment) == 2 and all(type(number) is int for number in segment)
    if not whole or not 1 <= segment[0] <= segment[1]:
        raise InputError(f"{where}: segment {segment} must be [first, end] in frames that count from 1")
    return segment[0] - 1, segment[1] - 1
