"""The manifest of a data set: its list, and what was measured of every video, as columns that workers map and share.

Beside the columns of ``VideoTable`` it has those of ``MEASURED``. A video that cannot be read is in it like all others,
with the reason: it is a part of the data set, and a test that leaves it out would be another test.
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
from videopool.data.lists.formats.entries import is_number, numbers_name
from videopool.data.lists.table import VideoTable
from videopool.errors import InputError

FORMAT = "videopool manifest"
VERSION = 1
MEASURED: Mapping[str, str] = {  # type, and what stands where it is not known
    "codec": "u1",  # place in Manifest.codecs; 0
    "width": "<i4",  # of the upright picture, in pixels; -1
    "height": "<i4",
    "fps": "<f4",  # average rate; NaN
    "duration_seconds": "<f8",  # from the start of the first to the end of the last frame on display; NaN
    "frames_listed": "<i4",  # on display, as the packets say; -1
    "frames_decodable": "<i4",  # on display, that a decoder gave; -1
    "hidden": "<i4",  # frames that an edit list hides; -1
    "left_out": "<i4",  # frames at the start that cannot be decoded, for their keyframe is not in the file; -1
    "keyframe_interval": "<f4",  # median of the frames from a keyframe to the next; NaN
    "size_bytes": "<i8",  # of the file or its part; -1
}
_LATER_COLUMNS = ("left_out",)  # which manifests of earlier releases lack
_LOOKED_FOR = 1000  # videos that are looked for in a folder before it is taken for a wrong one


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A data set of V videos: ``table`` has ``MEASURED``, ``reason`` and perhaps ``sha256`` uint8 [V,32] as columns.

    ``codecs`` are the names behind the column ``codec``; ``made`` says how the manifest was made.
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
        """(path, reason) of the videos that cannot be read."""
        for video in np.flatnonzero(~self.good).tolist():
            yield self.table.path_at(video), self.table.reason(video)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write ``manifest`` to ``path``, whole or not at all, with the folder that its paths start from."""
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
    """Whether ``path`` is a manifest, of any version; decided by what is in the file."""
    return path.is_file() and read_about(path).get("format") == FORMAT


def read_manifest(path: Path) -> Manifest:
    """The manifest at ``path``, mapped; its videos need not be there.

    Raises:
        InputError: for a file that is no manifest, a damaged one, or one of a newer version.
    """
    about = _known(path)
    columns, _ = map_columns(path)
    place = path.absolute()
    try:
        table = VideoTable(columns, place.parent / about["root"], place)
        manifest = Manifest(table, _texts(about["classes"]), _texts(about["codecs"]), about["made"])
        _check(manifest)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: is a damaged manifest ({error}); make it anew with tools/prepare.py scan") from None
    return manifest


def open_manifest(path: Path, root: Path | None = None) -> tuple[VideoTable, tuple[str, ...]]:
    """The videos and classes of the manifest at ``path``.

    Paths start from ``root``, or from the folder that the manifest names: the first of them that has one of the videos.

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
        f"{path}: none of its first videos exists below {places}; set data.root to the folder that its paths start from"
    )


def with_classes(table: VideoTable, found: Sequence[str], wanted: Sequence[str], source: str) -> VideoTable:
    """The videos of ``table``, whose classes are ``found``, labelled by the order of ``wanted``.

    A number that is no name among ``wanted`` is the class of that number, as in any list, unless these are numbers
    themselves.

    Raises:
        InputError: naming the first class with videos that ``wanted`` lacks.
    """
    if tuple(found) == tuple(wanted):
        return table
    places = {name: number for number, name in enumerate(wanted)}
    by_number = 0 if numbers_name(wanted) else len(wanted)
    numbers = [places.get(name, _number(name, by_number)) for name in found]
    used = np.zeros(len(found), dtype=bool)
    used[table.pairs()[1]] = True
    missing = [name for name, number, has_videos in zip(found, numbers, used, strict=True) if number < 0 and has_videos]
    if missing:
        raise InputError(
            f"{source}: class {missing[0]!r} is not among the {len(wanted)} classes ({', '.join(wanted[:4])}"
            f"{', ...' if len(wanted) > 4 else ''}); give a manifest of the same classes"
        )
    return table.relabeled(numbers)


def _number(name: str, classes: int) -> int:
    return int(name) if is_number(name) and int(name) < classes else -1


def _known(path: Path) -> dict[str, str]:
    about = read_about(path)
    if about.get("format") != FORMAT:
        kind = "is no manifest" if path.exists() else "no such file"
        raise InputError(f"{path}: {kind}; give a file that tools/prepare.py scan has written")
    if about.get("version") != str(VERSION):
        raise InputError(
            f"{path}: is a manifest of version {about.get('version')}, this videopool reads version {VERSION}; "
            f"make it anew with tools/prepare.py scan"
        )
    return about


def _texts(written: str) -> tuple[str, ...]:
    return tuple(map(str, json.loads(written)))


def _check(manifest: Manifest) -> None:
    """Raise ValueError or KeyError for columns that are missing or contradict each other."""
    table = manifest.table
    columns = table.columns
    for name in ("path", "path_ends", "label", "reason", "reason_ends", *MEASURED):
        if name not in columns and name not in _LATER_COLUMNS:
            raise ValueError(f"column {name} is missing")
    check_rows(columns, len(table))
    labels = columns["labels" if table.several_labels else "label"]
    if len(labels) and not table.unlabeled and not 0 <= labels.min() <= labels.max() < len(manifest.classes):
        raise ValueError(
            f"labels go from {labels.min()} to {labels.max()}, classes from 0 to {len(manifest.classes) - 1}"
        )


def _some_exist(manifest: Manifest) -> bool:
    """Whether one of the first videos is there; good ones first, a data set whose videos are all bad is one too."""
    good = manifest.good
    first = itertools.islice(itertools.chain(np.flatnonzero(good), np.flatnonzero(~good)), _LOOKED_FOR)
    return any((manifest.table.base / manifest.table.path_at(int(video))).exists() for video in first)


def _written_root(root: Path, folder: Path) -> str:
    """``root`` as a manifest in ``folder`` names it: from there where one holds the other, so that both may move."""
    above, below = root.resolve(), folder.resolve()
    if above.is_relative_to(below) or below.is_relative_to(above):
        return Path(os.path.relpath(above, below)).as_posix()
    return above.as_posix()
