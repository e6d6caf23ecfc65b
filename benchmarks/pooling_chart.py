"""Draw the chart of the pooling benchmark: forward + backward relative to the faster of max and average pooling."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.pooling_cells import WINDOWS, Cell
from benchmarks.pooling_report import ratio, to_faster
from benchmarks.pooling_results import Results, shape_name
from videopool.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS = {
    "videopool": ("videopool SoftPool", "#0b6e4f"),
    "max_pool3d": ("torch max pooling", "#7d8aa5"),
    "avg_pool3d": ("torch average pooling", "#c0c9d8"),
    "composed": ("SoftPool in plain torch", "#d98e04"),
    "compiled": ("the same under torch.compile", "#f2cc8f"),
}
TALLEST = 3.0  # longer bars are cut and labeled with their length


def draw(path: Path, results: Results) -> list[Path]:
    """Write the chart as PNG and SVG, with the name of ``path``, and return both paths; needs matplotlib."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "videopool"  # the same results give the same file
    from matplotlib.figure import Figure

    dtypes = list(dict.fromkeys(cell.dtype for cell in results.cells))
    layouts = list(dict.fromkeys(cell.layout for cell in results.cells))
    figure = Figure(figsize=(6.0 * len(layouts) + 0.5, 2.7 * len(dtypes) + 1.1), layout="constrained")
    grid = figure.subplots(len(dtypes), len(layouts), squeeze=False, sharey=True)
    bars = [name for name in BARS if any(name in cell.times for cell in results.cells)]
    for dtype, row in zip(dtypes, grid, strict=True):
        for layout, axes in zip(layouts, row, strict=True):
            cells = [cell for cell in results.cells if (cell.dtype, cell.layout) == (dtype, layout)]
            if not cells:
                axes.set_axis_off()
                continue
            _panel(axes, cells, bars)
            axes.set_title(f"{dtype}, {layout}", fontsize=10)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9)
    figure.supylabel("time / the faster of max and average", fontsize=9)
    figure.supxlabel(_caption(results), fontsize=8)
    written = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
    for each in written:
        with atomic_write(each) as temporary:
            dated = {"metadata": {"Date": None}} if each.suffix == ".svg" else {"dpi": 140}
            figure.savefig(temporary, format=each.suffix[1:], **dated)
    return written


def relative(cells: Sequence[Cell], variant: str) -> list[float]:
    """Return forward + backward of ``variant`` divided by the faster of max and average, for each cell with both."""
    values = []
    for cell in cells:
        of_ours, of_variant = to_faster(cell, "both"), ratio(cell, variant, "videopool", "both")
        if of_ours and of_variant:
            values.append(of_ours * of_variant)
    return values


def _panel(axes: Axes, cells: Sequence[Cell], bars: Sequence[str]) -> None:
    """Draw a group of bars for each window; the line on our bar spans its best to its worst shape."""
    windows = [window for window in WINDOWS if any(cell.window == window for cell in cells)]
    width = 0.86 / len(bars)
    for number, name in enumerate(bars):
        label, color = BARS[name]
        axes.bar(0, 0, width, color=color, label=label)  # for the legend, even if the variant has no times
        for group, window in enumerate(windows):
            values = relative([cell for cell in cells if cell.window == window], name)
            if not values:
                continue
            place = group + (number - (len(bars) - 1) / 2) * width
            height = statistics.geometric_mean(values)
            axes.bar(place, min(height, TALLEST), width * 0.94, color=color)
            if height > TALLEST:
                axes.plot([place - width / 2, place + width / 2], [TALLEST - 0.3, TALLEST - 0.2], "w", linewidth=2)
            low, top = (min(value, TALLEST) for value in (min(values), max(values)))
            if name == "videopool":
                axes.plot([place, place], [low, top], color="black", linewidth=1)
            else:
                top = min(height, TALLEST)
            text = f"{height:.0f}" if height >= 10 else f"{height:.1f}"
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.2}
            axes.text(place, top + 0.04, text, ha="center", fontsize=6.5, bbox=box)
    axes.axhline(1, color="black", linewidth=0.8, linestyle="--", zorder=1.5)  # above the bars, below the numbers
    axes.set_ylim(0, TALLEST * 1.1)
    axes.set_xlim(-0.5, len(windows) - 0.5)
    axes.set_xticks(range(len(windows)), [window.replace("-", "\n", 1) for window in windows], fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _caption(results: Results) -> str:
    shapes = list(dict.fromkeys(shape_name(cell.shape) for cell in results.cells))
    machine = results.machine
    gaps = "; no bar: torch cannot run it" if any(cell.missing for cell in results.cells) else ""
    mean = f"geometric mean of {len(shapes)} shapes, line: best to worst shape" if len(shapes) > 1 else shapes[0]
    return (
        f"forward + backward; {mean}; lower is faster, bars above {TALLEST:.0f} are cut{gaps}\n"
        f"{machine.hardware}, {machine.threads} threads, torch {machine.torch}"
    )
