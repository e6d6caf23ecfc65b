"""A list against the disk: what is missing, unreadable, listed twice, or labelled beyond the classes."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from videopool.data.lists.records import VideoList, missing_zero
from videopool.data.lists.table import VideoTable
from videopool.prepare.listed import Listed, files_of
from videopool.prepare.measure import Measured, measure
from videopool.prepare.progress import Watched
from videopool.prepare.workers import GivenUp, work_through
from videopool.report.tables import Row, markdown
from videopool.types import VideoRecord

_EXAMPLES = 3  # of each kind of problem in the table


@dataclasses.dataclass(frozen=True)
class Problem:
    """What kind of problem, with which video, file or class, and more about it."""

    kind: str
    name: str
    about: str = ""


@dataclasses.dataclass(frozen=True)
class Verifying:
    """How thoroughly: ``decode`` to the last frame instead of listing packets, compare contents by ``sha256``;
    ``timeout`` seconds for one file."""

    decode: bool
    sha256: bool
    processes: int
    timeout: float


def problems_of_lists(train: VideoList, test: VideoList | None, classes: Sequence[str]) -> Iterator[Problem]:
    """What is wrong with the lists themselves.

    Args:
        test: the list that is tested with, of other videos and the same classes.
        classes: the names that labels may have, in label order.
    """
    for videos in [train] if test is None else [train, test]:
        yield from _listed_twice(videos.records)
    yield from _unknown_classes(train, classes)
    without_zero = missing_zero(train.records, train.classes)
    if without_zero:
        yield Problem("label out of range", "0", without_zero)
    if test is not None:
        yield from _unknown_classes(test, classes)
        places = _places(train.records)
        for place, name in _places(test.records).items():
            if place in places:
                yield Problem("in both lists", name)


def problems_of_files(lists: Sequence[VideoList], how: Verifying, stopped: Callable[[], bool]) -> list[Problem]:
    """What is wrong with the files of all ``lists``, each looked at once; as far as it came when ``stopped``."""
    names = {place: name for videos in lists for place, name in _places(videos.records).items()}
    sizes = {place: size for videos in lists for place, size in _scanned_sizes(videos.records)}
    work = functools.partial(measure, base=Path(), quick=not how.decode, sha256=how.sha256)
    found: list[Problem] = []
    same: dict[str, list[str]] = defaultdict(list)
    with Watched("verify", total=len(names)) as watched:
        for place, answer in work_through(work, names, processes=how.processes, timeout=how.timeout, stopped=stopped):
            found += _problems_of_file(names[place], answer, sizes.get(place))
            if isinstance(answer, Measured) and answer.sha256:
                same[answer.sha256].append(names[place])
            watched.advance(f"{len(found)} problems" if found else "")
    found += [Problem("same content", group[0], ", ".join(group[1:])) for group in same.values() if len(group) > 1]
    return sorted(found, key=lambda one: (one.kind, one.name))


def table_of(problems: Sequence[Problem]) -> str:
    """Markdown: how many problems of each kind, and the first of them."""
    kinds: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        kinds[problem.kind].append(problem)
    rows: list[Row] = []
    for kind, group in kinds.items():
        rows.append({"problem": kind, "number": len(group), "which": group[0].name, "": group[0].about})
        rows += [{"problem": "", "which": one.name, "": one.about} for one in group[1:_EXAMPLES]]
        if len(group) > _EXAMPLES:
            rows.append({"problem": "", "which": f"... {len(group) - _EXAMPLES} more", "": ""})
    return markdown([{**row, "number": row.get("number", "")} for row in rows], ("problem", "number", "which", ""))


def _problems_of_file(name: str, answer: Measured | GivenUp, scanned_size: int | None) -> Iterator[Problem]:
    if isinstance(answer, GivenUp):
        yield Problem("unreadable", name, answer.reason)
    elif answer.size_bytes is None:
        yield Problem("missing", name, answer.reason)
    elif answer.reason:
        yield Problem("unreadable", name, answer.reason)
    if (
        isinstance(answer, Measured)
        and None not in (scanned_size, answer.size_bytes)
        and scanned_size != answer.size_bytes
    ):
        yield Problem("changed since the scan", name, f"{scanned_size} bytes then, {answer.size_bytes} now")


def _listed_twice(table: VideoTable) -> Iterator[Problem]:
    """The same file (however its path is written, or a link to it), part and span."""
    seen: dict[tuple[object, ...], VideoRecord] = {}
    for video in range(len(table)):
        record = table[video]
        span = (record.start_seconds, record.end_seconds, record.start_frame, record.end_frame)
        key = (os.path.realpath(record.path), record.part, span)
        before = seen.setdefault(key, record)
        if before is not record:
            same = (before.label, before.labels) == (record.label, record.labels)
            also = "" if before.id == record.id else f"also as {before.id}"
            yield Problem("listed twice" if same else "listed with two classes", record.id, also)


def _unknown_classes(videos: VideoList, wanted: Sequence[str]) -> Iterator[Problem]:
    """Classes with videos that are neither names nor numbers of the ``wanted`` ones."""
    known = {*wanted, *map(str, range(len(wanted)))}
    for number, count in enumerate(_counts(videos).tolist()):
        name = videos.classes[number]
        if count and name not in known:
            yield Problem(
                "label out of range", name, f"{count} video{'s' * (count != 1)}; there are {len(wanted)} classes"
            )


def _counts(videos: VideoList) -> np.ndarray:
    return np.bincount(videos.records.pairs()[1], minlength=len(videos.classes))


def _places(table: VideoTable) -> dict[Listed, str]:
    """The files of a list by where they are, with the names that the list has for them."""
    return {_placed(file, table.base): file.name for file in files_of(table).number}


def _placed(file: Listed, base: Path) -> Listed:
    return file._replace(path=os.path.normpath(base.absolute() / file.path))


def _scanned_sizes(table: VideoTable) -> Iterator[tuple[Listed, int]]:
    """The sizes that a manifest has for files of their own."""
    if "size_bytes" not in table.columns:
        return
    files = files_of(table)
    size = np.empty(len(files), dtype=np.int64)
    size[files.of_video] = table.columns["size_bytes"]
    for file, number in files.number.items():
        if size[number] >= 0 and file.part is None:
            yield _placed(file, table.base), int(size[number])
