"""ActivityNet: ``{"database": {id: {"subset": ..., "annotations": [{"label", "segment": [start, end]}, ...]}}}``.

Every annotation is an entry with a span in seconds; ``#training``, ``#validation`` and ``#testing`` select a subset.
The testing subset has no annotations and is a list without labels of whole videos. Files are ``v_<id>.mp4``,
``<id>.mp4`` or have another suffix, in ``base`` or up to two folders below it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videopool.data.lists.formats.entries import ListEntry, Listing, counted, joined
from videopool.data.lists.formats.files import find_file, missing_note, videos_by_name
from videopool.data.lists.formats.list_source import ListSource
from videopool.errors import InputError


def database_of(source: ListSource) -> dict[str, Any]:
    """Return the ``database`` of the source's JSON; {} for other sources."""
    database = source.json.get("database") if isinstance(source.json, dict) else None
    return database if isinstance(database, dict) else {}


def read(source: ListSource) -> Listing:
    """Return the annotations of one subset; ``note`` counts what is left out."""
    path, videos = source.place, select_subset(source)
    found = videos_by_name(source.base)
    without = [name for name, video in videos.items() if not video.get("annotations")]
    if len(without) == len(videos):  # the testing subset
        entries = [ListEntry(_path(found, name, ""), file=f"{path}: video {name}") for name in videos]
        return Listing(entries, source.base, note=missing_note(entries, found))
    listed = [
        _entry(path, name, one, found) for name, video in videos.items() for one in video.get("annotations") or ()
    ]
    entries = [entry for entry in listed if (entry.end_seconds or 0) > (entry.start_seconds or 0)]
    empty = len(listed) - len(entries)
    left_out = (
        f"{counted(len(without), 'video')} without annotations left out" if without else "",
        f"{counted(empty, 'annotation')} with an empty span left out" if empty else "",
    )
    return Listing(entries, source.base, note=joined(*left_out, missing_note(entries, found)))


def select_subset(source: ListSource) -> dict[str, dict[str, Any]]:
    """Return the videos of the subset ``source.part`` of a database, or all if there is only one subset."""
    path, part, database = source.place, source.part, database_of(source)
    odd = next((name for name, video in database.items() if not isinstance(video, dict)), None)
    if odd is not None:
        raise InputError(f"{path}: video {odd} must be an object with subset and annotations")
    subsets = list(dict.fromkeys(str(video.get("subset", "")) for video in database.values()))
    if part and part not in subsets:
        raise InputError(f"{path} has no subset {part!r}. Select one of {', '.join(subsets)}.")
    if not part and len(subsets) > 1:
        raise InputError(f"{path} has the subsets {', '.join(subsets)}. Select one, such as {path}#{subsets[0]}.")
    return {name: video for name, video in database.items() if not part or video.get("subset") == part}


def _entry(path: Path, name: str, annotation: Any, found: Mapping[str, list[str]]) -> ListEntry:
    where = f"{path}: video {name}"
    label = annotation.get("label") if isinstance(annotation, dict) else None
    segment = annotation.get("segment") if isinstance(annotation, dict) else None
    if not (isinstance(label, str) and label and isinstance(segment, list) and len(segment) == 2):
        raise InputError(f"{where}: expected annotations with label and segment [start, end], but found {annotation!r}")
    if not all(isinstance(time, int | float) and 0 <= time < math.inf for time in segment):
        raise InputError(f"{where}: segment {segment} must have a start and an end of 0 or more seconds")
    start, end = map(float, segment)
    return ListEntry(_path(found, name, label), label, start_seconds=start, end_seconds=end, file=where)


def _path(found: Mapping[str, list[str]], name: str, label: str) -> str:
    return find_file(found, (f"v_{name}", name), label, f"v_{name}.mp4")
