"""Split the videos of a list into parts, such as training and testing: class by class, groups kept together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from videopool.data.lists.formats.text import read_text, table_of
from videopool.data.lists.manifest import Manifest, is_manifest, read_manifest, write_manifest
from videopool.data.lists.records import VideoList
from videopool.data.lists.table import VideoTable
from videopool.data.parts import assign_parts
from videopool.errors import InputError
from videopool.prepare.write_list import check_csv, write_list

_TOLERANCE = 1e-6  # of the sum of the fractions


def split(
    videos: VideoList,
    to: Path,
    parts: Mapping[str, float],
    *,
    groups: Sequence[str] | None = None,
    seed: int = 0,
    command: str = "",
) -> dict[str, np.ndarray]:
    """Split the videos into ``parts`` and write a list of each to ``to``.

    The parts of a manifest are manifests (``<part>.manifest``), those of another list tables (``<part>.csv``).

    Args:
        parts: the fraction of the videos of each part, by its name.
        groups: the group of each video; the videos of a group go into one part.
        seed: of the random order in which groups are assigned.
        command: the command line, for the metadata of a manifest.

    Returns:
        The rising indices of the videos of each part.

    Raises:
        InputError: for fractions that do not add up to 1, a part without videos, and a list that already exists.
    """
    _check_fractions(parts)
    source = Path(videos.source)
    whole = read_manifest(source) if is_manifest(source) else None
    paths = {part: to / f"{part}.{'csv' if whole is None else 'manifest'}" for part in parts}
    for path in paths.values():
        if path.exists():
            raise InputError(f"{path} already exists. Name another folder, or delete it.", setting="to")
    part_of_video = assign_videos(videos.records, groups, list(parts.values()), seed)
    rows = {part: np.flatnonzero(part_of_video == number) for number, part in enumerate(parts)}
    empty = next((part for part, videos_of_part in rows.items() if not len(videos_of_part)), None)
    if empty is not None:
        raise InputError(
            f"Part {empty!r} would get no video, because there are too few videos or groups. Use fewer parts.",
            setting="parts",
        )
    if whole is None:
        check_csv(videos.records, videos.classes, videos.source, "Scan it, and split the manifest instead.")
    for part, path in paths.items():
        table = videos.records.selected(rows[part])
        if whole is None:
            write_list(path, table, videos.classes)
        else:
            write_manifest(path, Manifest(table, videos.classes, whole.codecs, command))
    return rows


def assign_videos(table: VideoTable, groups: Sequence[str] | None, fractions: Sequence[float], seed: int) -> np.ndarray:
    """Return the part of each video, int64 [V]; a part takes about its fraction of every class.

    Larger groups are assigned first, equal ones in an order drawn from ``seed``. Without groups, the number of a
    class's videos in a part differs from its fraction by less than one, and the remainders of classes even out.
    """
    _, group_of = np.unique(np.arange(len(table)) if groups is None else np.asarray(groups), return_inverse=True)
    videos, classes = _pairs(table)
    sizes = np.bincount(group_of)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    by_group = np.argsort(group_of[videos], kind="stable")
    ends = np.cumsum(np.bincount(group_of[videos], minlength=len(sizes)))
    members = (by_group[(ends[group - 1] if group else 0) : ends[group]] for group in order.tolist())
    part_of_group = np.empty(len(sizes), dtype=np.int64)
    part_of_group[order] = assign_parts((classes[rows] for rows in members), np.bincount(classes), fractions)
    return part_of_group[group_of]


def _pairs(table: VideoTable) -> tuple[np.ndarray, np.ndarray]:
    """``VideoTable.pairs``; videos without a class form another class."""
    videos, classes = table.pairs()
    without = np.setdiff1d(np.arange(len(table)), videos)
    own = np.full(len(without), classes.max(initial=-1) + 1)
    return np.concatenate([videos, without]), np.concatenate([classes, own])


def groups_by_path(table: VideoTable, pattern: str) -> list[str]:
    """Return what ``pattern`` (a regular expression) matches in the path of each video: its first group, or all of it.

    Raises:
        InputError: for an invalid pattern, and for the first path that it does not match.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"group={pattern!r} is not a valid regular expression ({error})", setting="group") from None
    groups = []
    for video in range(len(table)):
        found = expression.search(table.path_at(video))
        if found is None or (expression.groups and found[1] is None):
            message = f"group={pattern!r} does not match {table.path_at(video)}. It must match every path."
            raise InputError(message, setting="group")
        groups.append(found[1] if expression.groups else found[0])
    return groups


def groups_by_column(videos: VideoList, column: str) -> list[str]:
    """Return the cell of each video in ``column`` of a table.

    Raises:
        InputError: for a list that is not a table with that column, and for a video without a group.
    """
    if videos.format != "csv":
        message = (
            f"{videos.source} has no column {column!r}: it is not a table with a header. Give one, or group by path."
        )
        raise InputError(message, setting="group_column")
    whole = Path(videos.source).is_file()
    name, part = (videos.source, "") if whole else videos.source.rsplit("#", 1)
    path = Path(name)
    return list(table_of(path, read_text(path).split("\n"), part).groups(column, setting="group_column").values())


def _check_fractions(parts: Mapping[str, float]) -> None:
    if len(parts) < 2 or min(parts.values()) <= 0 or abs(sum(parts.values()) - 1) > _TOLERANCE:
        written = ", ".join(f"{part}={fraction:g}" for part, fraction in parts.items())
        message = f"{written} must be two or more parts whose positive fractions add up to 1"
        raise InputError(message, setting="parts")
