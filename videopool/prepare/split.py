"""Splitting the videos of a list into parts, such as training and testing: class by class, groups kept together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from videopool.data.lists.formats.text import Table, header_of, read_text
from videopool.data.lists.manifest import Manifest, is_manifest, read_manifest, write_manifest
from videopool.data.lists.records import VideoList
from videopool.data.lists.table import VideoTable
from videopool.errors import InputError
from videopool.prepare.lists import check_csv, write_list

_TOLERANCE = 1e-6  # of the sum of the fractions


def split(
    videos: VideoList, groups: Sequence[str] | None, fractions: Mapping[str, float], *, to: Path, seed: int, made: str
) -> dict[str, np.ndarray]:
    """Split the videos into the parts named in ``fractions``, and write a list of each to ``to``.

    A part of a manifest is a manifest (``<part>.manifest``), one of another list a csv (``<part>.csv``).

    Args:
        groups: of each video; videos of one group come into one part.
        made: the command, for the metadata of a manifest.

    Returns:
        Rising indices of the videos of each part.

    Raises:
        InputError: for fractions that do not add up to 1, a part without videos, and a list that exists already.
    """
    _check_fractions(fractions)
    source = Path(videos.source)
    whole = read_manifest(source) if is_manifest(source) else None
    paths = {part: to / f"{part}.{'csv' if whole is None else 'manifest'}" for part in fractions}
    for path in paths.values():
        if path.exists():
            raise InputError(f"{path}: exists already; name another folder with --to, or delete it")
    dealt = deal(videos.records, groups, list(fractions.values()), seed)
    parts = {part: np.flatnonzero(dealt == number) for number, part in enumerate(fractions)}
    _check_parts(parts)
    if whole is None:
        check_csv(videos.records, videos.classes, videos.source, "scan it, and give the manifest instead")
    for part, path in paths.items():
        table = videos.records.selected(parts[part])
        if whole is None:
            write_list(path, table, videos.classes)
        else:
            write_manifest(path, Manifest(table, videos.classes, whole.codecs, made))
    return parts


def deal(table: VideoTable, groups: Sequence[str] | None, fractions: Sequence[float], seed: int) -> np.ndarray:
    """Return the part of each video, int64 [V]; a part takes about its fraction of every class.

    Groups are dealt one by one, larger ones first, in an order drawn from ``seed``. Without groups, the number of a
    class's videos in a part differs from its fraction by less than one, and the remainders of classes even out.
    """
    _, group_of = np.unique(np.arange(len(table)) if groups is None else np.asarray(groups), return_inverse=True)
    videos, classes = _pairs(table)
    sizes = np.bincount(group_of)
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    by_group = np.argsort(group_of[videos], kind="stable")
    ends = np.cumsum(np.bincount(group_of[videos], minlength=len(sizes)))
    dealer = _Dealer(np.bincount(classes), fractions)
    part_of_group = np.empty(len(sizes), dtype=np.int64)
    for group in order.tolist():
        members = by_group[(ends[group - 1] if group else 0) : ends[group]]
        part_of_group[group] = dealer.part_for(classes[members])
    return part_of_group[group_of]


class _Dealer:
    """Finds the part for one group after the other, so that each part gets its fraction of every class.

    Args:
        counts: int64 [K], videos of each class.
        fractions: of the parts.
    """

    def __init__(self, counts: np.ndarray, fractions: Sequence[float]) -> None:
        self._left = counts.copy()
        self._lacking = np.outer(counts, fractions)  # [K, parts]: how many of a class a part still needs
        self._drift = np.zeros(len(fractions))  # how many the parts lack in sum, of classes that are dealt out

    def part_for(self, classes: np.ndarray) -> int:
        """Return the part for a group of videos of these ``classes``.

        It is the part that lacks most, if one lacks the whole group; else, of the parts that lack some of it, the one
        that is furthest behind its fraction.
        """
        found, counts = np.unique(classes, return_counts=True)
        lacking = self._lacking[found]
        wanted = (lacking / counts[:, None]).mean(0)
        if wanted.max() < 1 and wanted.max() > 0:
            wanted = np.where(wanted > 0, self._drift + lacking.sum(0), -np.inf)
        part = int(np.argmax(wanted))
        self._lacking[found, part] -= counts
        self._left[found] -= counts
        self._drift += self._lacking[found[self._left[found] == 0]].sum(0)
        return part


def _pairs(table: VideoTable) -> tuple[np.ndarray, np.ndarray]:
    """``VideoTable.pairs``; videos without any class are dealt out as a class of their own."""
    videos, classes = table.pairs()
    without = np.setdiff1d(np.arange(len(table)), videos)
    own = np.full(len(without), classes.max(initial=-1) + 1)
    return np.concatenate([videos, without]), np.concatenate([classes, own])


def groups_by_path(table: VideoTable, pattern: str) -> list[str]:
    """Return what ``pattern`` (a regular expression) finds in the path of each video: its first group, or all of it.

    Raises:
        InputError: for an invalid pattern, and for the first path in which nothing is found.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--group {pattern}: is no regular expression ({error}); correct it") from None
    groups = []
    for video in range(len(table)):
        found = expression.search(table.path_at(video))
        if found is None or (expression.groups and found[1] is None):
            raise InputError(f"--group {pattern}: finds nothing in {table.path_at(video)}; every path needs a group")
        groups.append(found[1] if expression.groups else found[0])
    return groups


def groups_by_column(videos: VideoList, column: str) -> list[str]:
    """Return the cell of each video in ``column`` of a table.

    Raises:
        InputError: for a list that is not a table with that column, and for a video without a group.
    """
    if videos.format != "csv":
        raise InputError(f"--group-column {column}: {videos.source} is no table with that header; give --group")
    whole = Path(videos.source).is_file()
    name, part = (videos.source, "") if whole else videos.source.rsplit("#", 1)
    path = Path(name)
    lines = read_text(path).split("\n")
    delimiter, columns = header_of(lines)
    table = Table(path, lines, columns, delimiter, part)
    if column.lower() not in columns:
        raise InputError(f"{path}:1: the header has no column {column} for --group-column; it has {', '.join(columns)}")
    rows = dict(table.rows())
    empty = next((number for number, row in rows.items() if not row[column.lower()]), None)
    if empty is not None:
        raise InputError(f"{path}:{empty}: column {column} is empty; every video needs a group")
    return [row[column.lower()] for row in rows.values()]


def _check_fractions(fractions: Mapping[str, float]) -> None:
    written = " ".join(f"{part}={fraction:g}" for part, fraction in fractions.items())
    if len(fractions) < 2 or min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > _TOLERANCE:
        raise InputError(f"--parts {written}: expected two parts or more, of positive fractions that add up to 1")


def _check_parts(parts: Mapping[str, np.ndarray]) -> None:
    empty = next((part for part, videos in parts.items() if not len(videos)), None)
    if empty is not None:
        raise InputError(f"--parts: {empty} would get no video; there are too few videos or groups for it")
