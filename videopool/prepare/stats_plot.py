"""The picture that goes with ``stats``: six small charts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from videopool.data.lists.manifest import Manifest
from videopool.files import written_whole
from videopool.prepare.stats import class_counts, quantities, sizes
from videopool.report.plot_text import plot_text

_COLOUR = "#0072b2"  # of Okabe and Ito's set
_MOST_BARS = 12
_SLIM = 5  # fewer bars do not fill the height
_LOGARITHMIC = 50  # the largest class beside the smallest one from which on the scale is logarithmic
_NAMED_CLASSES = 20  # above that, classes are counted off instead of named


def draw(path: Path, manifest: Manifest, name: str) -> None:
    """Writes the charts to ``path`` as PNG: classes, durations, sizes, codecs, rates, keyframe intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.6), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    found = quantities(manifest)
    codes = manifest.table.columns["codec"][manifest.good]
    _classes(axes[0], manifest)
    _histogram(axes[1], found["duration (s)"], "duration (s)")
    _bars(axes[2], Counter(sizes(manifest)), "size (pixels)")
    _bars(axes[3], Counter(manifest.codecs[code] or "unknown" for code in codes.tolist()), "codec")
    _histogram(axes[4], found["frames per second"], "frames per second")
    _histogram(axes[5], found["keyframe interval (frames)"], "keyframe interval (frames)")
    bad = int((~manifest.good).sum())
    note = f"; the {bad} that cannot be read are counted among the classes alone" if bad else ""
    figure.suptitle(
        f"{plot_text(name)}: {len(manifest.table)} videos{note}", fontsize=11, x=0.01, horizontalalignment="left"
    )
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _classes(axes: Any, manifest: Manifest) -> None:
    """Videos of each class, the largest first."""
    counts = class_counts(manifest)
    order = np.argsort(-counts, kind="stable")
    if len(counts) <= _NAMED_CLASSES:
        axes.barh(range(len(counts)), counts[order], color=_COLOUR)
        axes.set_yticks(range(len(counts)), [_shortened(manifest.classes[k]) for k in order], fontsize=7)
        axes.set_ylim(max(len(counts), _SLIM) - 0.5, -0.5)
        _label(axes, "class", "videos", "")
        return
    axes.fill_between(np.arange(len(counts)), counts[order], step="mid", color=_COLOUR, linewidth=0)
    if counts.max() > _LOGARITHMIC * max(counts.min(), 1):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    _label(axes, "class", "the largest first", "videos")


def _histogram(axes: Any, values: np.ndarray, label: str) -> None:
    known = values[np.isfinite(values)]
    if len(known) and known.min() == known.max():  # a bar as wide as the chart would say nothing
        _bars(axes, Counter({f"{known[0]:.4g}": len(known)}), label)
        return
    axes.hist(known, bins=40, color=_COLOUR)
    _label(axes, label, "", "videos")


def _bars(axes: Any, counts: Counter[str], label: str) -> None:
    """The most frequent kinds, and all others together."""
    shown = counts.most_common(_MOST_BARS)
    others = sum(counts.values()) - sum(count for _, count in shown)
    if others:
        shown.append((f"{len(counts) - len(shown)} others", others))
    axes.barh(range(len(shown)), [count for _, count in shown], color=_COLOUR)
    axes.set_yticks(range(len(shown)), [_shortened(kind) for kind, _ in shown], fontsize=8)
    axes.set_ylim(max(len(shown), _SLIM) - 0.5, -0.5)  # the most frequent on top
    _label(axes, label, "videos", "")


def _label(axes: Any, title: str, below: str, beside: str) -> None:
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel(below, fontsize=8)
    axes.set_ylabel(beside, fontsize=8)


def _shortened(name: str) -> str:
    return plot_text(name if len(name) <= 24 else f"{name[:23]}…")
