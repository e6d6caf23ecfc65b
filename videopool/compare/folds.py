"""Folds by group: every video is tested once, by a network that has seen no video of its group."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from videopool.data.lists.formats.text import read_text, table_of
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
    table = table_of(path, read_text(path).split("\n"))
    groups = table.groups(column, setting="group")
    if not groups:
        raise InputError(f"{path} has no rows. Write a header, and a line for each video.")
    header = next(line for line in table.lines if line.strip())
    return GroupedLines(path, header, tuple(table.lines[number - 1] for number in groups), tuple(groups.values()))


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


def write_folds(table: GroupedLines, folds: int, folder: Path, *, validation: bool = False) -> tuple[Fold, ...]:
    """Write ``fold<f>-train.csv`` and ``fold<f>-test.csv`` to ``folder``, with the lines of the table unchanged.

    With ``validation``, the last fold is neither trained on nor tested. It is returned last, with its lines in
    ``validation.csv`` and the training list of the first fold.
    """
    parts = assign_folds(table.groups, folds)
    kept = parts[-1] if validation else ()
    written = []
    for number, groups in enumerate(parts[:-1] if validation else parts):
        trained = set(table.groups) - {*groups, *kept}
        train = _write(table, folder / f"fold{number}-train.csv", trained)
        test = _write(table, folder / f"fold{number}-test.csv", groups)
        written.append(Fold(train, test, groups))
    if validation:
        test = _write(table, folder / "validation.csv", kept)
        written.append(Fold(written[0].train, test, kept))
    return tuple(written)


def _write(table: GroupedLines, path: Path, groups: Collection[str]) -> str:
    """Write the lines of ``groups`` to ``path``, and return it."""
    lines = [line for line, group in zip(table.lines, table.groups, strict=True) if group in groups]
    write_text(path, "\n".join([table.header, *lines]) + "\n")
    return str(path)
