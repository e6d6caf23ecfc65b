"""Verify a list and its files: what is missing, unreadable, listed twice, or labeled outside the classes."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from videopool.console import FileProgress
from videopool.data.lists.records import VideoList, missing_zero
from videopool.data.lists.table import VideoTable
from videopool.prepare.distinct_files import ListedFile, distinct_files
from videopool.prepare.measure import MeasuredFile, measure
from videopool.processes.pool import Failure, WorkerPool
from videopool.report.tables import Row, markdown
from videopool.types import VideoRecord

_EXAMPLES = 3  # rows of each kind of problem in a table


@dataclasses.dataclass(frozen=True)
class Problem:
    """The kind of a problem, the video, file or class that has it, and details."""

    kind: str
    name: str
    about: str = ""


def verify(
    train: VideoList,
    test: VideoList | None = None,
    *,
    classes: Sequence[str] | None = None,
    decode: bool = False,
    sha256: bool = False,
    processes: int = 1,
    timeout: float = 60.0,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Problem]:
    """Return the problems of a list and its files; only those found so far if ``stopped`` ended the work.

    Args:
        test: the test list, which must have other videos and the same classes.
        classes: the class names, in label order; by default those of ``train``.
        decode: decode files to the last frame instead of listing their packets.
        sha256: find files with the same content.
        processes: how many files are read at a time.
        timeout: seconds after which a file is given up.
        stopped: polled while files are read; True ends the work.
    """
    problems = list(list_problems(train, test, train.classes if classes is None else classes))
    work = functools.partial(measure, base=Path(), quick=not decode, sha256=sha256)
    answers = WorkerPool(work, processes=processes, timeout=timeout, stopped=stopped).answers
    return problems + _file_problems([train] if test is None else [train, test], answers)


def list_problems(train: VideoList, test: VideoList | None, classes: Sequence[str]) -> Iterator[Problem]:
    """Yield the problems of the lists themselves; arguments as in ``verify``."""
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


def problem_table(problems: Sequence[Problem]) -> str:
    """Return a Markdown table: the number of problems of each kind and the first of them."""
    kinds: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        kinds[problem.kind].append(problem)
    rows: list[Row] = []
    for kind, group in kinds.items():
        rows.append({"problem": kind, "number": len(group), "which": group[0].name, "detail": group[0].about})
        rows += [{"problem": "", "number": "", "which": one.name, "detail": one.about} for one in group[1:_EXAMPLES]]
        if len(group) > _EXAMPLES:
            rows.append({"problem": "", "number": "", "which": f"... {len(group) - _EXAMPLES} more", "detail": ""})
    return markdown(rows, ("problem", "number", "which", "detail"))


_Answers = Callable[[dict[ListedFile, str]], Iterator[tuple[ListedFile, MeasuredFile | Failure]]]


def _file_problems(lists: Sequence[VideoList], answers: _Answers) -> list[Problem]:
    """Return the problems of the files of all ``lists``, each of which is read once."""
    names = {place: name for videos in lists for place, name in _places(videos.records).items()}
    sizes = {place: size for videos in lists for place, size in _scanned_sizes(videos.records)}
    found: list[Problem] = []
    same: dict[str, list[str]] = defaultdict(list)
    with FileProgress("verify", total=len(names)) as progress:
        for place, answer in answers(names):
            found += _problems_of_file(names[place], answer, sizes.get(place))
            if isinstance(answer, MeasuredFile) and answer.sha256:
                same[answer.sha256].append(names[place])
            progress.advance(f"{len(found)} problems" if found else "")
    found += [Problem("same content", group[0], ", ".join(group[1:])) for group in same.values() if len(group) > 1]
    return sorted(found, key=lambda one: (one.kind, one.name))


def _problems_of_file(name: str, answer: MeasuredFile | Failure, scanned_size: int | None) -> Iterator[Problem]:
    if isinstance(answer, Failure):
        yield Problem("unreadable", name, answer.reason)
        return
    if answer.reason:
        yield Problem("missing" if answer.size_bytes is None else "unreadable", name, answer.reason)
    if None not in (scanned_size, answer.size_bytes) and scanned_size != answer.size_bytes:
        yield Problem("changed since the scan", name, f"{scanned_size} bytes then, {answer.size_bytes} now")


def _listed_twice(table: VideoTable) -> Iterator[Problem]:
    """Yield the videos with the same file (also under another path or link), part and span as an earlier one."""
    seen: dict[tuple[object, ...], VideoRecord] = {}
    for video in range(len(table)):
        record = table[video]
        span = (record.start_seconds, record.end_seconds, record.start_frame, record.end_frame)
        before = seen.setdefault((os.path.realpath(record.path), record.part, span), record)
        if before is not record:
            same = (before.label, before.labels) == (record.label, record.labels)
            also = "" if before.id == record.id else f"also as {before.id}"
            yield Problem("listed twice" if same else "listed with two classes", record.id, also)


def _unknown_classes(videos: VideoList, wanted: Sequence[str]) -> Iterator[Problem]:
    """Yield the classes with videos that are neither names nor numbers of the ``wanted`` ones."""
    known = {*wanted, *map(str, range(len(wanted)))}
    counts = np.bincount(videos.records.pairs()[1], minlength=len(videos.classes))
    for name, count in zip(videos.classes, counts.tolist(), strict=True):
        if count and name not in known:
            plural = "s" * (count != 1)
            yield Problem("label out of range", name, f"{count} video{plural}; there are {len(wanted)} classes")


def _places(table: VideoTable) -> dict[ListedFile, str]:
    """Return the files of a list by their absolute paths, with their names in the list."""
    return {_placed(file, table.base): file.name for file in distinct_files(table).number}


def _placed(file: ListedFile, base: Path) -> ListedFile:
    return file._replace(path=os.path.normpath(base.absolute() / file.path))


def _scanned_sizes(table: VideoTable) -> Iterator[tuple[ListedFile, int]]:
    """Yield the sizes in a manifest of the files that are not parts of others."""
    if "size_bytes" not in table.columns:
        return
    files = distinct_files(table)
    size = np.empty(len(files), dtype=np.int64)
    size[files.of_video] = table.columns["size_bytes"]
    for file, number in files.number.items():
        if size[number] >= 0 and file.part is None:
            yield _placed(file, table.base), int(size[number])
