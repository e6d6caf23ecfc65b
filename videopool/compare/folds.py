"""Leave-groups-out splits: every video is tested once, by a network that has seen no video of its group."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from videopool.errors import InputError
from videopool.files import write_text


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of videos as it was written: ``lines`` behind ``header``, and the group of each."""

    path: Path
    header: str
    lines: tuple[str, ...]
    groups: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Fold:
    """One split: lists of training and test videos, and the groups that are tested (none: no groups are known)."""

    train: str
    test: str
    groups: tuple[str, ...] = ()


def read_table(path: Path, column: str) -> Table:
    """The rows of the table at ``path`` with the group that ``column`` gives each.

    Raises:
        InputError: for a file that cannot be read, a column that is not there, and a row without a group.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read as a table ({reason}); give videos= and data.root=") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if len(numbered) < 2:
        raise InputError(f"{path}: expected a header and a line for each video")
    delimiter = "\t" if "\t" in numbered[0][1] else ","
    cells = [[cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))] for _, line in numbered]
    names = [name.lower() for name in cells[0]]
    if column.lower() not in names:
        raise InputError(f"{path}:1: the header has no column {column!r} for group=; it has {', '.join(names)}")
    place = names.index(column.lower())
    for (number, _), row in zip(numbered[1:], cells[1:], strict=True):
        if len(row) != len(names) or not row[place]:
            raise InputError(f"{path}:{number}: expected {len(names)} cells with a {column} among them, got {row}")
    return Table(path, numbered[0][1], tuple(line for _, line in numbered[1:]), tuple(row[place] for row in cells[1:]))


def deal(groups: Sequence[str], folds: int) -> tuple[tuple[str, ...], ...]:
    """The groups of each fold, dealt so that the folds have about as many videos: the largest group first, each to
    the fold that has the fewest videos, equal ones by name and number. ``groups`` holds the group of every video.

    Raises:
        InputError: when there are fewer groups than folds.
    """
    sizes = Counter(groups)
    if len(sizes) < folds:
        raise InputError(f"folds: {folds} folds of {len(sizes)} groups; give folds={len(sizes)} or less")
    dealt: list[list[str]] = [[] for _ in range(folds)]
    for group in sorted(sizes, key=lambda group: (-sizes[group], group)):
        min(dealt, key=lambda fold: sum(sizes[one] for one in fold)).append(group)
    return tuple(tuple(sorted(fold)) for fold in dealt)


def write_folds(table: Table, folds: int, folder: Path) -> tuple[Fold, ...]:
    """Writes ``fold<f>-train.csv`` and ``fold<f>-test.csv`` into ``folder``, rows as they stand in the table."""
    written = []
    for number, groups in enumerate(deal(table.groups, folds)):
        lists = {
            name: [line for line, group in zip(table.lines, table.groups, strict=True) if (group in groups) == tested]
            for name, tested in (("train", False), ("test", True))
        }
        paths = {name: folder / f"fold{number}-{name}.csv" for name in lists}
        for name, lines in lists.items():
            write_text(paths[name], "\n".join([table.header, *lines]) + "\n")
        written.append(Fold(str(paths["train"]), str(paths["test"]), groups))
    return tuple(written)
