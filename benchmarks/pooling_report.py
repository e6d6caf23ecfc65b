"""Report the results of the pooling benchmark in Markdown: summary, goals, a table per dtype and layout, memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from benchmarks.pooling_cells import DIRECTIONS, UNITS, VARIANTS, WINDOWS, Cell, Window
from benchmarks.pooling_results import Results, shape_name

MEMORY = {
    "new": "results above 1 MiB in new pages each time (--memory new)",
    "reused": "results in reused pages (--memory reused)",
    "malloc": "memory chosen by malloc (--memory malloc)",
}


class Figure(NamedTuple):
    """One measured ratio, with its cell and direction."""

    value: float
    cell: Cell
    direction: str

    def __str__(self) -> str:
        cell = self.cell
        where = f"{self.direction}, {cell.window}, {shape_name(cell.shape)}, {cell.layout}, {cell.dtype}"
        return f"{self.value:.2f} ({where})"


class Goal(NamedTuple):
    """A bound for all figures, or for their geometric mean."""

    text: str
    relation: str  # below, at most, at least
    bound: float
    figures: list[Figure]
    of_mean: bool = False

    def row(self) -> str:
        """Return the row of the goal. The worst figure is the largest, or the smallest for "at least"."""
        target = f"{'geometric mean ' if self.of_mean else ''}{self.relation} {self.bound:.3g}"
        if not self.figures:
            return f"| {self.text} | {target} | not in this run | | |"
        mean = geometric_mean(self.figures)
        worst = (min if self.relation == "at least" else max)(self.figures, key=lambda figure: figure.value)
        judged = mean if self.of_mean else worst.value
        met = {"below": judged < self.bound, "at most": judged <= self.bound, "at least": judged >= self.bound}
        return f"| {self.text} | {target} | {mean:.2f} | {worst} | {'yes' if met[self.relation] else 'no'} |"


def markdown(results: Results) -> str:
    """Return the whole page."""
    cells = results.cells
    cuda = cells[0].copy_gb_per_s > 0
    names = [each for each in VARIANTS if any(each in cell.times or each in cell.missing for cell in cells)]
    lines = [*_heading(results), "", *_summary(cells), "", *_goals(_cuda_goals(cells) if cuda else _cpu_goals(cells))]
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.dtype, cell.layout), []).append(cell)
    for (dtype, layout), group in groups.items():
        lines += ["", f"## {dtype}, {layout}: time, as a ratio to x.clone()", "", *_table(group, names, cuda)]
    lines += ["", *_memory(cells, names), "", *_missing(cells)]
    return "\n".join(lines).rstrip() + "\n"


def ms(cell: Cell, variant: str, direction: str) -> float | None:
    """Return the median of a variant, or None; clone and copy_ have the same for every direction."""
    measured = cell.times.get(variant, {}).get("copy" if variant in UNITS else direction)
    return measured.median_ms if measured else None


def ratio(cell: Cell, variant: str, other: str, direction: str) -> float | None:
    """Return the time of ``variant`` divided by that of ``other``; None if one of them is missing."""
    time, unit = ms(cell, variant, direction), ms(cell, other, direction)
    return time / unit if time and unit else None


def to_faster(cell: Cell, direction: str) -> float | None:
    """Return the time of videopool divided by the faster of max and average pooling; None if both are missing."""
    rivals = [ratio(cell, "videopool", pool, direction) for pool in ("max_pool3d", "avg_pool3d")]
    return max((rival for rival in rivals if rival), default=None)


def bandwidth(cell: Cell, direction: str) -> float | None:
    """Return the GB/s of videopool for the least traffic: each input read once, each output written once."""
    time = ms(cell, "videopool", direction)
    forward, backward = cell.x_bytes + cell.y_bytes, 2 * cell.x_bytes + cell.y_bytes
    moved = {"forward": forward, "backward": backward, "both": forward + backward}[direction]
    return moved / time / 1e6 if time else None


def geometric_mean(figures: Iterable[Figure]) -> float:
    """Return the geometric mean of the figures."""
    return statistics.geometric_mean(figure.value for figure in figures)


def figures(
    cells: Iterable[Cell], measure: Callable[[Cell, str], float | None], directions: Sequence[str] = ("both",)
) -> list[Figure]:
    """Return the figures that ``measure`` returns for the cells, without None."""
    measured = ((measure(cell, direction), cell, direction) for cell in cells for direction in directions)
    return [Figure(value, cell, direction) for value, cell, direction in measured if value is not None]


def _heading(results: Results) -> list[str]:
    machine, cells = results.machine, results.cells
    rotated = min(cell.copies * cell.x_bytes for cell in cells)
    clock = (
        "GPU time between two events, with all launches queued before"
        if cells[0].copy_gb_per_s
        else f"time until the results are freed, with {MEMORY[machine.memory]}"
    )
    lines = [
        f"# Pooling on {machine.hardware}",
        "",
        f"{machine.threads} threads, OMP_WAIT_POLICY {machine.wait_policy}, transparent huge pages "
        f"{machine.huge_pages}; torch {machine.torch}; videopool.ops: {results.backend}. One process, the variants in "
        f"a balanced order that changes every round, {_range([cell.rounds for cell in cells])} rounds; medians of the "
        f"{clock}. In each cell {_range([cell.copies for cell in cells])} tensors x with at least "
        f"{rotated / 2**20:.0f} MiB together take turns; the last-level cache has "
        f"{machine.cache_bytes / 2**20:.0f} MiB. Other processes used at most "
        f"{100 * max(cell.others for cell in cells):.0f} % of the processor time in a cell.",
        "",
    ]
    for session in results.sessions:
        lines.append(f"    {session.command}    # {session.date}, load before: {session.load_before:.1f}")
    return lines


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def _summary(cells: Sequence[Cell]) -> list[str]:
    """Return the table of forward + backward relative to the faster of max and average pooling, for each dtype."""
    lines = [
        "## Forward + backward, as a ratio to the faster of max and average pooling",
        "",
        "| dtype | cells | geometric mean | worst | at or above 1.0 |",
        "|---|---:|---:|---|---:|",
    ]
    slower: list[Figure] = []
    for dtype in dict.fromkeys(cell.dtype for cell in cells):
        measured = figures([cell for cell in cells if cell.dtype == dtype], to_faster)
        if not measured:
            lines.append(f"| {dtype} | 0 | - | - | - |")
            continue
        worst = max(measured, key=lambda figure: figure.value)
        above = [figure for figure in measured if figure.value >= 1]
        lines.append(f"| {dtype} | {len(measured)} | {geometric_mean(measured):.2f} | {worst} | {len(above)} |")
        slower += above
    if slower:
        lines += ["", "At or above 1.0:", ""]
        lines += [f"- {figure}" for figure in sorted(slower, key=lambda figure: -figure.value)]
    return lines


def _goals(goals: Sequence[Goal]) -> list[str]:
    lines = ["## Goals", "", "| videopool | goal | geometric mean | worst | met |", "|---|---|---:|---|---|"]
    return lines + [goal.row() for goal in goals]


def _cpu_goals(cells: Sequence[Cell]) -> list[Goal]:
    float32 = [cell for cell in cells if cell.dtype == "float32"]
    halving = [cell for cell in float32 if cell.window == "2x2x2-s2"]
    to_rival = figures(float32, to_faster)
    goals = [
        Goal("forward + backward, to the faster of max and average, float32", "below", 1.0, to_rival),
        Goal("the same", "at most", 0.70, to_rival, of_mean=True),
    ]
    for layout, bound in (("contiguous", 0.45), ("channels_last_3d", 0.20)):
        measured = figures([cell for cell in halving if cell.layout == layout], _to_clone, ["forward"])
        goals.append(Goal(f"forward 2x2x2-s2, to clone, float32, {layout}", "at most", bound, measured))
    goals.append(
        Goal("backward 2x2x2-s2, to clone, float32", "at most", 1.15, figures(halving, _to_clone, ["backward"]))
    )
    for direction in DIRECTIONS:
        measured = figures(float32, lambda cell, way: ratio(cell, "videopool", "composed", way), [direction])
        goals.append(Goal(f"{direction}, to composed, float32", "at most", 0.125, measured))
    goals.append(Goal("forward + backward, bfloat16 to float32", "at most", 0.7, _bfloat16_to_float32(cells)))
    return goals


def _cuda_goals(cells: Sequence[Cell]) -> list[Goal]:
    disjoint = [cell for cell in cells if _is_disjoint(WINDOWS[cell.window])]
    overlapping = [cell for cell in cells if cell.window in ("1x3x3-s122-p011", "3x3x3-s2-p1")]
    goals = [Goal("forward + backward, to the faster of max and average", "at most", 1.0, figures(cells, to_faster))]
    for direction in ("forward", "backward"):
        for text, group, bound in (("non-overlapping", disjoint, 0.85), ("overlapping", overlapping, 0.60)):
            measured = figures(group, _of_copy, [direction])
            goals.append(Goal(f"{direction}, {text}: bandwidth, to that of copy_", "at least", bound, measured))
    return goals


def _is_disjoint(window: Window | None) -> bool:
    """Return whether no cell is in two windows. Global pooling is excluded from this goal."""
    return window is not None and all(s >= k for k, s in zip(window.kernel_size, window.stride, strict=True))


def _to_clone(cell: Cell, direction: str) -> float | None:
    return ratio(cell, "videopool", "clone", direction)


def _of_copy(cell: Cell, direction: str) -> float | None:
    achieved = bandwidth(cell, direction)
    return achieved / cell.copy_gb_per_s if achieved else None


def _bfloat16_to_float32(cells: Sequence[Cell]) -> list[Figure]:
    """Return the time in bfloat16 divided by that in float32, for cells that have both."""
    wide = {(cell.window, cell.shape, cell.layout): cell for cell in cells if cell.dtype == "float32"}

    def measure(cell: Cell, direction: str) -> float | None:
        other = wide.get((cell.window, cell.shape, cell.layout))
        time, unit = ms(cell, "videopool", direction), other and ms(other, "videopool", direction)
        return time / unit if time and unit else None

    return figures([cell for cell in cells if cell.dtype == "bfloat16"], measure)


def _table(cells: Sequence[Cell], names: Sequence[str], cuda: bool) -> list[str]:
    head = ["shape", "window", "direction", "videopool ms", "spread", *names, "copy_", "to faster of max, avg"]
    head += ["to composed", *(["GB/s", "of copy"] if cuda else [])]
    lines = [_row(head), _row(["---"] * 3 + ["---:"] * (len(head) - 3))]
    for cell in cells:
        for direction in DIRECTIONS:
            measured = cell.times["videopool"][direction]
            row = [shape_name(cell.shape), cell.window, direction, f"{measured.median_ms:.3g}"]
            row.append(f"{100 * (measured.high_ms - measured.low_ms) / measured.median_ms:.0f} %")
            row += [_number(ratio(cell, name, "clone", direction)) for name in [*names, "copy_"]]
            row += [_number(to_faster(cell, direction)), _number(ratio(cell, "videopool", "composed", direction))]
            if cuda:
                row += [f"{bandwidth(cell, direction):.0f}", _number(_of_copy(cell, direction))]
            lines.append(_row(row))
    return lines


def _memory(cells: Sequence[Cell], names: Sequence[str]) -> list[str]:
    lines = [
        "## Memory of forward + backward, as multiples of x",
        "",
        "The peak of bytes in torch's allocator beyond x and the gradient of y: y, the gradient of x, saved tensors",
        "and temporaries. In brackets: the bytes saved for the backward beyond x, including y if it is saved.",
        "",
        _row(["window", "dtype", "layout", "shape", *names]),
        _row(["---"] * 4 + ["---:"] * len(names)),
    ]
    for cell in cells:
        if cell.memory:
            used = [cell.memory.get(name) for name in names]
            row = [cell.window, cell.dtype, cell.layout, shape_name(cell.shape)]
            row += [
                f"{each.peak / cell.x_bytes:.2f} ({each.saved / cell.x_bytes:.2f})" if each else "-" for each in used
            ]
            lines.append(_row(row))
    return lines


def _missing(cells: Sequence[Cell]) -> list[str]:
    """Return the reasons for missing variants, each once."""
    reasons: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        for name, reason in cell.missing.items():
            reasons.setdefault((name, reason), []).append(cell)
    lines = []
    for (name, reason), group in reasons.items():
        dtypes = ", ".join(dict.fromkeys(cell.dtype for cell in group))
        lines.append(f"- `{name}`, {dtypes}, {len(group)} cells: {reason}")
    return ["A dash means that torch cannot run the variant:", "", *lines] if lines else []


def _row(entries: Sequence[str]) -> str:
    return f"| {' | '.join(entries)} |"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
