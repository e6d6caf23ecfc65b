"""Draw a data set as six small charts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from videopool.data.lists.manifest import Manifest
from videopool.prepare.stats import class_counts, codecs, quantities, sizes
from videopool.report.figures import plot_text, save

_COLOR = "#0072b2"  # of Okabe and Ito's palette
_MOST_BARS = 12
_LEAST_ROWS = 5  # fewer bars do not fill the height
_LOG_RATIO = 50  # of the largest to the smallest class; above it the scale is logarithmic
_NAMED_CLASSES = 20  # with more classes, their names are left out


def draw_charts(path: Path, manifest: Manifest, name: str) -> Path:
    """Write charts of classes, durations, sizes, codecs, rates, keyframe intervals to ``path``.png, and return it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.6), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    found = quantities(manifest)
    _classes(axes[0], manifest)
    _histogram(axes[1], found["duration (s)"], "duration (s)")
    _bars(axes[2], Counter(sizes(manifest)), "size (pixels)")
    _bars(axes[3], Counter(codecs(manifest)), "codec")
    _histogram(axes[4], found["frames per second"], "frames per second")
    _histogram(axes[5], found["keyframe interval (frames)"], "keyframe interval (frames)")
    bad = int((~manifest.good).sum())
    note = f"; {bad} unreadable ones appear only among the classes" if bad else ""
    figure.suptitle(
        f"{plot_text(name)}: {len(manifest.table)} videos{note}", fontsize=11, x=0.01, horizontalalignment="left"
    )
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return save(figure, path)[0]


def _classes(axes: Any, manifest: Manifest) -> None:
    """Draw the number of videos of each class, the largest first."""
    counts = class_counts(manifest)
    order = np.argsort(-counts, kind="stable")
    if len(counts) <= _NAMED_CLASSES:
        axes.barh(range(len(counts)), counts[order], color=_COLOR)
        axes.set_yticks(range(len(counts)), [_shortened(manifest.classes[k]) for k in order], fontsize=7)
        axes.set_ylim(max(len(counts), _LEAST_ROWS) - 0.5, -0.5)
        _label(axes, "class", "videos", "")
        return
    axes.fill_between(np.arange(len(counts)), counts[order], step="mid", color=_COLOR, linewidth=0)
    if counts.max() > _LOG_RATIO * max(counts.min(), 1):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    _label(axes, "class", "largest first", "videos")


def _histogram(axes: Any, values: np.ndarray, label: str) -> None:
    known = values[np.isfinite(values)]
    if len(known) and known.min() == known.max():  # a histogram of one value is a bar as wide as the chart
        _bars(axes, Counter({f"{known[0]:.4g}": len(known)}), label)
        return
    axes.hist(known, bins=40, color=_COLOR)
    _label(axes, label, "", "videos")


def _bars(axes: Any, counts: Counter[str], label: str) -> None:
    """Draw the most frequent kinds, and all others as one bar."""
    shown = counts.most_common(_MOST_BARS)
    others = sum(counts.values()) - sum(count for _, count in shown)
    if others:
        shown.append((f"{len(counts) - len(shown)} others", others))
    axes.barh(range(len(shown)), [count for _, count in shown], color=_COLOR)
    axes.set_yticks(range(len(shown)), [_shortened(kind) for kind, _ in shown], fontsize=8)
    axes.set_ylim(max(len(shown), _LEAST_ROWS) - 0.5, -0.5)  # the most frequent on top
    _label(axes, label, "videos", "")


def _label(axes: Any, title: str, below: str, beside: str) -> None:
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel(below, fontsize=8)
    axes.set_ylabel(beside, fontsize=8)


def _shortened(name: str) -> str:
    return plot_text(name if len(name) <= 24 else f"{name[:23]}…")
