"""ActivityNet: ``{"database": {id: {"subset": ..., "annotations": [{"label", "segment": [start, end]}, ...]}}}``.

Every annotation is an entry of its own with a span in seconds; ``#training``, ``#validation`` and ``#testing`` pick a
subset. The testing subset has no annotations, and is a list without labels of whole videos. Files are ``v_<id>.mp4``,
``<id>.mp4`` or another kind, in ``base`` or up to two folders below it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videopool.data.lists.formats.entries import Entry, Listing, counted, joined
from videopool.data.lists.formats.files import chosen, missing_note, videos_by_name
from videopool.errors import InputError


def read(path: Path, content: Mapping[str, Any], part: str, base: Path) -> Listing:
    """Return the annotations of one subset as entries; ``note`` counts what is left out.

    Raises:
        InputError: for several subsets without a choice of one, a subset that is not there, and an annotation of
            another form, naming its video.
    """
    videos = subset_of(path, content["database"], part)
    found = videos_by_name(base)
    without = [name for name, video in videos.items() if not video.get("annotations")]
    if len(without) == len(videos):  # the testing subset
        entries = [Entry(f"{path}: video {name}", 0, _place(found, name, "")) for name in videos]
        return Listing("activitynet", entries, base, note=missing_note(entries, found))
    listed = [
        _entry(path, name, one, found) for name, video in videos.items() for one in video.get("annotations") or ()
    ]
    entries = [entry for entry in listed if (entry.end or 0) > (entry.start or 0)]
    empty = len(listed) - len(entries)
    left_out = (
        f"{counted(len(without), 'video')} without annotations left out" if without else "",
        f"{counted(empty, 'annotation')} with an empty span left out" if empty else "",
    )
    return Listing("activitynet", entries, base, note=joined(*left_out, missing_note(entries, found)))


def subset_of(path: Path, database: Mapping[str, Any], part: str) -> dict[str, dict[str, Any]]:
    """Return the videos of the subset ``part`` of a database, or all of them where there is one subset.

    Raises:
        InputError: for several subsets without a choice of one, and for a subset that is not there.
    """
    odd = next((name for name, video in database.items() if not isinstance(video, dict)), None)
    if odd is not None:
        raise InputError(f"{path}: video {odd}: expected an object with subset and annotations")
    subsets = list(dict.fromkeys(str(video.get("subset", "")) for video in database.values()))
    if part and part not in subsets:
        raise InputError(f"{path}: no video is in the subset {part!r}; there are {', '.join(subsets)}")
    if not part and len(subsets) > 1:
        raise InputError(f"{path} holds the subsets {', '.join(subsets)}; pick one, as in {path}#{subsets[0]}")
    return {name: video for name, video in database.items() if not part or video.get("subset") == part}


def _entry(path: Path, name: str, annotation: Any, found: Mapping[str, list[str]]) -> Entry:
    where = f"{path}: video {name}"
    label = annotation.get("label") if isinstance(annotation, dict) else None
    segment = annotation.get("segment") if isinstance(annotation, dict) else None
    if not (isinstance(label, str) and label and isinstance(segment, list) and len(segment) == 2):
        raise InputError(f"{where}: expected annotations with label and segment [start, end], got {annotation!r}")
    if not all(isinstance(time, int | float) and 0 <= time < math.inf for time in segment):
        raise InputError(f"{where}: segment {segment} is no start and end in seconds from 0 on")
    start, end = map(float, segment)
    return Entry(where, 0, _place(found, name, label), label, start=start, end=end)


def _place(found: Mapping[str, list[str]], name: str, label: str) -> str:
    paths = found.get(f"v_{name}") or found.get(name)
    return chosen(paths, label) if paths else f"v_{name}.mp4"
