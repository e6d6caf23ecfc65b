"""Manifests: a list of videos with what a scan measured of each, as columns that workers map and share.

A manifest has the columns of ``VideoTable`` and ``MEASURED``. It also contains the videos that cannot be read, with the
reason: they belong to the data set, and a test without them would be another test.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from videopool.data.lists.columns import check_rows, map_columns, read_about, write_columns
from videopool.data.lists.formats.entries import is_number, named_by_numbers
from videopool.data.lists.table import VideoTable
from videopool.errors import InputError

FORMAT = "videopool manifest"
VERSION = 1
MEASURED: Mapping[str, str] = {  # the type of each column, and its value if unknown
    "codec": "u1",  # position in Manifest.codecs; 0
    "width": "<i4",  # of the upright picture, in pixels; -1
    "height": "<i4",
    "fps": "<f4",  # average rate; NaN
    "duration_seconds": "<f8",  # from the start of the first displayed frame to the end of the last; NaN
    "frames_listed": "<i4",  # displayed frames, by the packets; -1
    "frames_decodable": "<i4",  # displayed frames that were decoded; -1
    "hidden": "<i4",  # frames hidden by an edit list; -1
    "left_out": "<i4",  # frames at the start whose keyframe is not in the file; -1
    "keyframe_interval": "<f4",  # median number of frames from a keyframe to the next; NaN
    "size_bytes": "<i8",  # of the file or its part; -1
}
_CHECKED = 1000  # videos to look for in a folder before it counts as the wrong one
_SCAN = "videopool prepare scan"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A data set of V videos.

    Attributes:
        table: the videos, with the columns ``MEASURED``, ``reason`` and perhaps ``sha256`` uint8 [V,32].
        classes: the names of the classes.
        codecs: the names that the column ``codec`` numbers.
        made: the command that made the manifest.
    """

    table: VideoTable
    classes: tuple[str, ...]
    codecs: tuple[str, ...]
    made: str

    @property
    def good(self) -> np.ndarray:
        """bool [V]: the videos that can be read."""
        return np.diff(self.table.columns["reason_ends"], prepend=0) == 0

    def bad_videos(self) -> Iterator[tuple[str, str]]:
        """Yield (path, reason) of the videos that cannot be read."""
        for video in np.flatnonzero(~self.good).tolist():
            yield self.table.path_at(video), self.table.reason(video)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write ``manifest`` and the folder that its paths start from to ``path``, completely or not at all."""
    columns = manifest.table.columns
    check_rows(columns, len(manifest.table))
    about = {
        "format": FORMAT,
        "version": str(VERSION),
        "root": _written_root(manifest.table.base, path.parent),
        "classes": json.dumps(manifest.classes),
        "codecs": json.dumps(manifest.codecs),
        "made": manifest.made,
    }
    write_columns(path, columns, about)


def is_manifest(path: Path) -> bool:
    """Return whether the content of ``path`` is a manifest of any version."""
    return path.is_file() and read_about(path).get("format") == FORMAT


def read_manifest(path: Path) -> Manifest:
    """Map the manifest at ``path``; its videos need not exist.

    Raises:
        InputError: for another file, a damaged manifest, or one of another version.
    """
    about = _checked_about(path)
    columns, _ = map_columns(path)
    place = path.absolute()
    try:
        table = VideoTable(columns, place.parent / about["root"], place)
        manifest = Manifest(table, _texts(about["classes"]), _texts(about["codecs"]), about["made"])
        _check(manifest)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is a damaged manifest ({error}). Make it again with {_SCAN}.") from None
    return manifest


def open_manifest(path: Path, root: Path | None = None) -> tuple[VideoTable, tuple[str, ...]]:
    """Return the videos and classes of the manifest at ``path``.

    Paths start from ``root`` or the folder that the manifest names: the first of the two with one of the videos.

    Raises:
        InputError: as ``read_manifest``, and if none of the videos is found.
    """
    manifest = read_manifest(path)
    bases = [manifest.table.base] if root is None else [root, manifest.table.base]
    for base in bases:
        placed = dataclasses.replace(manifest, table=VideoTable(manifest.table.columns, base, manifest.table.file))
        if _some_exist(placed):
            return placed.table, placed.classes
    places = " or ".join(map(str, bases))
    raise InputError(
        f"{path}: none of its first videos exists below {places}. Set root to the folder that its paths start from.",
        setting="root",
    )


def with_classes(table: VideoTable, found: Sequence[str], wanted: Sequence[str], source: str) -> VideoTable:
    """Return the videos of ``table``, whose classes are ``found``, with labels in the order of ``wanted``.

    As in any list, a number that is not a name in ``wanted`` is the number of a class, unless the names are numbers.

    Raises:
        InputError: for a class with videos that ``wanted`` lacks.
    """
    if tuple(found) == tuple(wanted):
        return table
    positions = {name: number for number, name in enumerate(wanted)}
    by_number = 0 if named_by_numbers(wanted) else len(wanted)
    numbers = [positions.get(name, int(name) if is_number(name) and int(name) < by_number else -1) for name in found]
    used = np.zeros(len(found), dtype=bool)
    used[table.pairs()[1]] = True
    missing = [name for name, number, has_videos in zip(found, numbers, used, strict=True) if number < 0 and has_videos]
    if missing:
        raise InputError(
            f"{source}: class {missing[0]!r} is not among the {len(wanted)} classes ({', '.join(wanted[:4])}"
            f"{', ...' if len(wanted) > 4 else ''}). Give a manifest of the same classes."
        )
    return table.relabeled(numbers)


def _checked_about(path: Path) -> dict[str, str]:
    """Return the metadata of a manifest. Raises InputError for another file or version."""
    about = read_about(path)
    if about.get("format") != FORMAT:
        kind = "is not a manifest" if path.exists() else "does not exist"
        raise InputError(f"{path} {kind}. Give a file that {_SCAN} has written.")
    if about.get("version") != str(VERSION):
        raise InputError(
            f"{path} is a manifest of version {about.get('version')}, but this videopool reads version {VERSION}. Make "
            f"it again with {_SCAN}."
        )
    return about


def _texts(written: str) -> tuple[str, ...]:
    return tuple(map(str, json.loads(written)))


def _check(manifest: Manifest) -> None:
    """Raise ValueError or KeyError for columns that are missing or contradict each other."""
    table = manifest.table
    columns = table.columns
    for name in ("path", "path_ends", "label", "reason", "reason_ends", *MEASURED):
        if name not in columns:
            raise ValueError(f"column {name} is missing")
    check_rows(columns, len(table))
    labels = columns["labels" if table.several_labels else "label"]
    if len(labels) and not table.unlabeled and not 0 <= labels.min() <= labels.max() < len(manifest.classes):
        raise ValueError(
            f"labels go from {labels.min()} to {labels.max()}, classes from 0 to {len(manifest.classes) - 1}"
        )


def _some_exist(manifest: Manifest) -> bool:
    """Return whether one of the first videos exists: the good ones first, then the bad, if there are only those."""
    good = manifest.good
    first = itertools.islice(itertools.chain(np.flatnonzero(good), np.flatnonzero(~good)), _CHECKED)
    return any((manifest.table.base / manifest.table.path_at(int(video))).exists() for video in first)


def _written_root(root: Path, folder: Path) -> str:
    """Return ``root`` relative to ``folder`` if one contains the other, so that both can move; else absolute."""
    above, below = root.resolve(), folder.resolve()
    if above.is_relative_to(below) or below.is_relative_to(above):
        return Path(os.path.relpath(above, below)).as_posix()
    return above.as_posix()
