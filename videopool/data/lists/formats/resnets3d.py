"""3D-ResNets-PyTorch: ``{"labels": [...], "database": {name: {"subset", "annotations": {"label", "segment"}}}}``.

``labels`` is the order of the classes. ``segment`` is ``[first, end]`` in frames that count from 1, the end exclusive.
``#training``, ``#validation`` and ``#testing`` pick a subset; the testing subset may have no labels. A video is the
folder of frames ``<label>/<name>``, or ``<name>.mp4`` or another kind, in ``base`` or up to two folders below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videopool.data.lists.formats.activitynet import subset_of
from videopool.data.lists.formats.entries import Entry, Listing, counted, joined
from videopool.data.lists.formats.files import missing_note, place_of, videos_by_name
from videopool.errors import InputError


def read(path: Path, content: Mapping[str, Any], part: str, base: Path) -> Listing:
    """Return the videos of one subset; those without frames, whose segment is ``[1, 1]``, are left out and counted.

    Raises:
        InputError: for several subsets without a choice of one, a subset that is not there, and, naming the video, for
            an annotation of another form or with a class that is not among ``labels``.
    """
    labels = content.get("labels")
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise InputError(f"{path}: expected a list of the names of the classes as 'labels' beside 'database'")
    videos = subset_of(path, content["database"], part)
    found = videos_by_name(base, frames=videos.keys())
    listed = [_entry(path, name, video.get("annotations"), set(labels), found) for name, video in videos.items()]
    entries = [entry for entry in listed if entry.end_frame != 0]
    empty = len(listed) - len(entries)
    left_out = f"{counted(empty, 'video')} without frames (segment [1, 1]) left out" if empty else ""
    return Listing(
        "3d-resnets", entries, base, tuple(labels), str(path), joined(left_out, missing_note(entries, found))
    )


def _entry(path: Path, name: str, annotation: Any, known: set[str], found: Mapping[str, list[str]]) -> Entry:
    where = f"{path}: video {name}"
    if not isinstance(annotation, dict):
        raise InputError(f"{where}: expected annotations with label and segment, got {annotation!r}")
    label = annotation.get("label", "")
    if label and label not in known:
        raise InputError(f"{where}: label {label!r} is not among the 'labels' of the file; correct one of the two")
    first, end = _segment(where, annotation.get("segment"))
    place, frames = place_of(found, name, label, f"{label or 'test'}/{name}")
    return Entry(where, 0, place, label, frames=frames, start_frame=first, end_frame=end)


def _segment(where: str, segment: Any) -> tuple[int | None, int | None]:
    """Return (start, end) in frames from 0; (None, None) without a segment."""
    if segment is None:
        return None, None
    whole = isinstance(segment, list) and len(segment) == 2 and all(type(number) is int for number in segment)
    if not whole or not 1 <= segment[0] <= segment[1]:
        raise InputError(f"{where}: segment {segment} is not [first, end] in frames that count from 1")
    return segment[0] - 1, segment[1] - 1
