"""Write, read, merge and select the JSON results of the pooling benchmark."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.pooling_cells import Cell, Memory
from benchmarks.timing import Machine, Spread
from videopool.errors import InputError
from videopool.files import atomic_write


@dataclass(frozen=True)
class Session:
    """One run: its command, its date, and the one-minute load average before it."""

    command: str
    date: str
    load_before: float


@dataclass(frozen=True)
class Results:
    """The cells of one or more sessions on one machine, with one build of the kernels."""

    machine: Machine
    backend: str
    sessions: tuple[Session, ...]
    cells: tuple[Cell, ...]


def write(path: Path, results: Results) -> None:
    """Write results as JSON."""
    write_text(path, json.dumps(asdict(results), indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read(path: Path) -> Results:
    """Read results from JSON."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Results(
            machine=Machine(**values["machine"]),
            backend=values["backend"],
            sessions=tuple(Session(**each) for each in values["sessions"]),
            cells=tuple(_cell(each) for each in values["cells"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path} does not hold results of this benchmark ({error}); give a file that --json wrote"
        ) from error


def _cell(values: dict) -> Cell:
    spreads = {
        name: {direction: Spread(**each) for direction, each in directions.items()}
        for name, directions in values["times"].items()
    }
    memory = {name: Memory(**each) for name, each in values["memory"].items()}
    return Cell(**{**values, "shape": tuple(values["shape"]), "times": spreads, "memory": memory})


def merged(parts: Sequence[Results]) -> Results:
    """Merge the parts of one table.

    Raises:
        InputError: if the parts overlap or come from different machines or builds.
    """
    first = parts[0]
    for other in parts[1:]:
        mine, its = ({**asdict(part.machine), "backend": part.backend} for part in (first, other))
        for setting, value in mine.items():
            if its[setting] != value:
                raise InputError(
                    f"{setting} is {value} in one file and {its[setting]} in another; "
                    "merge only results of one machine and one build"
                )
    cells = tuple(cell for part in parts for cell in part.cells)
    known = set()
    for cell in cells:
        if key(cell) in known:
            raise InputError(f"{name(cell)} is in two of the files; leave out one of them")
        known.add(key(cell))
    sessions = tuple(session for part in parts for session in part.sessions)
    return replace(first, sessions=sessions, cells=cells)


def selected(
    results: Results,
    *,
    windows: Collection[str],
    shapes: Collection[tuple[int, ...]],
    layouts: Collection[str],
    dtypes: Collection[str],
) -> Results:
    """Return the cells of these windows, shapes, layouts and dtypes; an empty collection selects all."""
    chosen = (windows, shapes, layouts, dtypes)
    cells = tuple(
        cell
        for cell in results.cells
        if all(not some or value in some for some, value in zip(chosen, key(cell), strict=True))
    )
    if not cells:
        raise InputError("no cell of the results has these windows, shapes, layouts and dtypes; give fewer options")
    return replace(results, cells=cells)


def key(cell: Cell) -> tuple[str, tuple[int, ...], str, str]:
    """Return the values that identify a cell."""
    return cell.window, cell.shape, cell.layout, cell.dtype


def name(cell: Cell) -> str:
    """Return the name of a cell."""
    return f"{cell.window} {shape_name(cell.shape)} {cell.layout} {cell.dtype}"


def shape_name(shape: Sequence[int]) -> str:
    """Return a shape as text, such as 4x64x16x56x56."""
    return "x".join(map(str, shape))
