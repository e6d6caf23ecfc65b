"""The figure of a comparison: accuracy of every method, its seeds as dots, mean and standard deviation."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videopool.compare.method_result import MethodResult
from videopool.compare.significance import LEVEL
from videopool.compare.table import Design
from videopool.report.figures import plot_text, save

# Two colors of Okabe and Ito's set, which are distinct for every kind of color vision, and a gray.
_REFERENCE, _OTHER, _DOT = "#d55e00", "#0072b2", "#8c8c8c"
_TITLE_WIDTH = 80  # characters


def draw(path: Path, methods: Sequence[MethodResult], design: Design) -> list[Path]:
    """Write the figure to ``path``.png and ``path``.svg, and return both paths; needs matplotlib."""
    from matplotlib.figure import Figure

    ranked = sorted(methods, key=lambda one: one.video_top1)
    figure = Figure(figsize=(7.2, 2.0 + 0.3 * len(ranked)), layout="constrained")
    axes = figure.subplots()
    for row, one in enumerate(ranked):
        color = _REFERENCE if one.method == design.reference else _OTHER
        dots = [100 * value for value in one.by_seed.values()]
        axes.plot(dots, [row - 0.22] * len(dots), "o", color=_DOT, markersize=3.5, alpha=0.8, markeredgewidth=0)
        spread = None if one.video_top1_sd is None else 100 * one.video_top1_sd
        style: dict[str, Any] = {"color": color, "markersize": 6.5, "capsize": 3, "elinewidth": 1.6}
        axes.errorbar(100 * one.video_top1, row, xerr=spread, fmt="D" if color == _REFERENCE else "o", **style)
        if one.method == design.reference:
            axes.axvline(100 * one.video_top1, color=color, linewidth=1, linestyle=":", zorder=0)
    axes.set_yticks(range(len(ranked)), [plot_text(_label(one, design)) for one in ranked])
    axes.set_ylim(-0.7, len(ranked) - 0.3)
    axes.grid(axis="x", linewidth=0.5, alpha=0.4)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("video top-1 accuracy (%)", fontsize=9)
    figure.supxlabel(plot_text(_caption(design)), fontsize=8, x=0.01, horizontalalignment="left")
    title = f"{design.network}: {design.videos} videos, {design.classes} classes"
    figure.suptitle(plot_text(textwrap.fill(title, _TITLE_WIDTH)), fontsize=10, x=0.01, horizontalalignment="left")
    return save(figure, path, (".png", ".svg"), dpi=150)


def _label(one: MethodResult, design: Design) -> str:
    """Return the name, with a star if the method differs from the reference."""
    if one.method == design.reference:
        return f"{one.method} (reference)"
    differs = one.against is not None and one.against.p_holm < LEVEL
    return f"{one.method} *" if differs else one.method


def _caption(design: Design) -> str:
    split = f"{design.folds} folds by {design.group}" if design.group else "one split"
    seeds = f"{len(design.seeds)} seed" + "s" * (len(design.seeds) != 1)
    part = "" if design.done == design.planned else f" UNFINISHED: {design.done} of {design.planned} runs."
    marks = (
        "mean and standard deviation over the seeds; gray dots: each seed" if len(design.seeds) > 1 else "the one seed"
    )
    return (
        f"{split}, {seeds}; always predicting the most frequent class: {100 * design.chance:.0f} %.{part}\n"
        f"Marks: {marks}, over all videos.\n"
        f"*: differs from {design.reference} at {100 * LEVEL:.0f} % after Holm's correction."
    )
