"""The figure of a comparison: accuracy of every method, its seeds as dots, mean and standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videopool.compare.method_result import MethodResult
from videopool.compare.statistics import LEVEL
from videopool.compare.table import Words
from videopool.files import written_whole

# Two colours of Okabe and Ito's set, which every kind of colour vision tells apart, and greys.
_REFERENCE, _OTHER, _DOT = "#d55e00", "#0072b2", "#8c8c8c"


def draw(path: Path, methods: Sequence[MethodResult], words: Words) -> list[Path]:
    """Writes the figure as PNG and SVG beside each other, under the name of ``path``; needs matplotlib."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "videopool"  # the same results give the same file
    from matplotlib.figure import Figure

    ranked = sorted(methods, key=lambda one: one.video_top1)
    figure = Figure(figsize=(7.2, 2.0 + 0.3 * len(ranked)), layout="constrained")
    axes = figure.subplots()
    for row, one in enumerate(ranked):
        colour = _REFERENCE if one.method == words.reference else _OTHER
        dots = [100 * value for value in one.by_seed.values()]
        axes.plot(dots, [row - 0.22] * len(dots), "o", color=_DOT, markersize=3.5, alpha=0.8, markeredgewidth=0)
        spread = None if one.video_top1_sd is None else 100 * one.video_top1_sd
        style: dict[str, Any] = {"color": colour, "markersize": 6.5, "capsize": 3, "elinewidth": 1.6}
        axes.errorbar(100 * one.video_top1, row, xerr=spread, fmt="D" if colour == _REFERENCE else "o", **style)
        if one.method == words.reference:
            axes.axvline(100 * one.video_top1, color=colour, linewidth=1, linestyle=":", zorder=0)
    axes.set_yticks(range(len(ranked)), [_label(one, words) for one in ranked])
    axes.set_ylim(-0.7, len(ranked) - 0.3)
    axes.grid(axis="x", linewidth=0.5, alpha=0.4)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("video top-1 accuracy (%)", fontsize=9)
    figure.supxlabel(_caption(words), fontsize=8, x=0.01, horizontalalignment="left")
    axes.set_title(f"{words.network}: {words.videos} videos, {words.classes} classes", fontsize=10, loc="left")
    written = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
    for each in written:
        with written_whole(each) as temporary:
            dated = {"metadata": {"Date": None}} if each.suffix == ".svg" else {"dpi": 150}
            figure.savefig(temporary, format=each.suffix[1:], **dated)
    return written


def _label(one: MethodResult, words: Words) -> str:
    """The name, with a star where the method differs from the reference."""
    if one.method == words.reference:
        return f"{one.method} (reference)"
    differs = one.against is not None and one.against.p_holm < LEVEL
    return f"{one.method} *" if differs else one.method


def _caption(words: Words) -> str:
    split = f"{words.folds} folds by {words.group}" if words.group else "one split"
    seeds = f"{len(words.seeds)} seed" + "s" * (len(words.seeds) != 1)
    part = "" if words.done == words.planned else f" UNFINISHED: {words.done} of {words.planned} runs."
    marks = (
        "mean and standard deviation over the seeds; grey dots: each seed" if len(words.seeds) > 1 else "the one seed"
    )
    return (
        f"{split}, {seeds}; always naming the most frequent class: {100 * words.chance:.0f} %.{part}\n"
        f"Marks: {marks}, over all videos.\n"
        f"*: differs from {words.reference} at {100 * LEVEL:.0f} % after Holm's correction."
    )
