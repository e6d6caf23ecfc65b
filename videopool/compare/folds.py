"""Folds by group: every video is tested once, by a network that has seen no video of its group."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from videopool.data.parts import assign_parts
from videopool.errors import InputError
from videopool.files import write_text


@dataclasses.dataclass(frozen=True)
class GroupedLines:
    """A table of videos as text: its ``header``, the ``lines`` after it, and the group of each line."""

    path: Path
    header: str
    lines: tuple[str, ...]
    groups: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Fold:
    """One split: the lists of training and test videos, and the groups tested (none if groups are unknown)."""

    train: str
    test: str
    groups: tuple[str, ...] = ()


def read_groups(path: Path, column: str) -> GroupedLines:
    """Return the lines of the table at ``path``, each with its group from ``column``.

    Raises:
        InputError: for a file that cannot be read, a missing column, and a line without a group.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path} cannot be read as a table ({reason}). Set videos= and data.root=.") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if len(numbered) < 2:
        raise InputError(f"{path} must have a header and a line for each video")
    delimiter = "\t" if "\t" in numbered[0][1] else ","
    cells = [[cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))] for _, line in numbered]
    names = [name.lower() for name in cells[0]]
    if column.lower() not in names:
        raise InputError(f"{path}:1: the header has no column {column!r}. Set group= to one of {', '.join(names)}.")
    index = names.index(column.lower())
    for (number, _), row in zip(numbered[1:], cells[1:], strict=True):
        if len(row) != len(names) or not row[index]:
            raise InputError(f"{path}:{number}: expected {len(names)} cells with a {column}, got {row}")
    groups = tuple(row[index] for row in cells[1:])
    return GroupedLines(path, numbered[0][1], tuple(line for _, line in numbered[1:]), groups)


def assign_folds(groups: Sequence[str], folds: int) -> tuple[tuple[str, ...], ...]:
    """Return the groups of each fold, such that the folds have about as many videos.

    Larger groups are assigned first, equal ones by name, each to the fold with the fewest videos.

    Args:
        groups: the group of every video.

    Raises:
        InputError: if there are fewer groups than folds.
    """
    sizes = Counter(groups)
    if len(sizes) < folds:
        raise InputError(f"folds={folds} must not exceed the number of groups, which is {len(sizes)}")
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    same_class = (np.zeros(sizes[name], dtype=np.int64) for name in names)
    fold_of = assign_parts(same_class, np.array([len(groups)]), [1 / folds] * folds)
    return tuple(tuple(sorted(names[i] for i in np.flatnonzero(fold_of == fold))) for fold in range(folds))


def write_folds(table: GroupedLines, folds: int, folder: Path) -> tuple[Fold, ...]:
    """Write ``fold<f>-train.csv`` and ``fold<f>-test.csv`` to ``folder``, with the lines of the table unchanged."""
    written = []
    for number, groups in enumerate(assign_folds(table.groups, folds)):
        paths = {name: folder / f"fold{number}-{name}.csv" for name in ("train", "test")}
        for name, path in paths.items():
            rows = zip(table.lines, table.groups, strict=True)
            lines = [line for line, group in rows if (group in groups) == (name == "test")]
            write_text(path, "\n".join([table.header, *lines]) + "\n")
        written.append(Fold(str(paths["train"]), str(paths["test"]), groups))
    return tuple(written)
