"""Draw a timeline: the scores of the classes over time, and the segments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from videopool.inference.fonts import Fonts
from videopool.inference.timeline import Segment, Window
from videopool.report.figures import plot_text, save

_MOST_POINTS = 2048  # more are averaged
_MOST_CLASSES = 8
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")  # Okabe and Ito


class ScoreHistory:
    """The scores of a video over time, in bounded memory: when there are too many points, neighbors are averaged."""

    def __init__(self) -> None:
        self._points: list[tuple[float, np.ndarray]] = []
        self._sum: tuple[int, float, np.ndarray | float] = (0, 0.0, 0.0)
        self._each = 1  # windows in a point

    def add(self, window: Window) -> None:
        """Add the next window."""
        count, center, scores = self._sum
        self._sum = (count + 1, center + window.center, scores + window.probabilities.numpy().astype(np.float32))
        if self._sum[0] == self._each:
            self._points.append((self._sum[1] / self._each, np.asarray(self._sum[2]) / self._each))
            self._sum = (0, 0.0, 0.0)
        if len(self._points) == 2 * _MOST_POINTS:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [((a + b) / 2, (left + right) / 2) for (a, left), (b, right) in pairs]
            self._each *= 2

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Return times in seconds [n], and scores [n,K]."""
        count, center, scores = self._sum
        rest = [(center / count, np.asarray(scores) / count)] if count else []
        points = [*self._points, *rest]
        return np.array([time for time, _ in points]), np.array([scores for _, scores in points])


def draw_timeline(
    path: Path, title: str, history: ScoreHistory, segments: Sequence[Segment], classes: Sequence[str], fonts: Fonts
) -> Path:
    """Write the picture of a timeline to ``path`` (.png, .svg or .pdf), and return it.

    The classes with the longest segments have a line each.
    """
    from matplotlib.figure import Figure

    lengths: Counter[str] = Counter()
    for segment in segments:
        lengths[segment.label] += segment.end - segment.start  # type: ignore[assignment]
    shown = [label for label, _ in lengths.most_common(_MOST_CLASSES)]
    times, scores = history.points()
    figure = Figure(figsize=(10, 3.2 + 0.25 * len(shown)), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.5, 0.4 + 0.25 * len(shown)])
    for row, label in enumerate(shown):
        color = _COLORS[row % len(_COLORS)]
        if len(times):
            above.plot(times, scores[:, classes.index(label)], color=color, linewidth=1.4)
        spans = [(each.start, each.end - each.start) for each in segments if each.label == label]
        below.broken_barh(spans, (row - 0.4, 0.8), color=color)
    above.set_ylim(-0.02, 1.02)
    above.set_ylabel("probability")
    above.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    above.set_title(plot_text(title), fontsize=10)
    below.set_yticks(range(len(shown)), [plot_text(label) for label in shown], fontsize=9)
    for label, text in zip(shown, below.get_yticklabels(), strict=True):
        if fonts.path(label):
            text.set_fontproperties(_properties(str(fonts.path(label))))
    below.set_ylim(max(1, len(shown)) - 0.5, -0.5)
    below.set_xlabel("seconds")
    (written,) = save(figure, path.with_suffix(""), (path.suffix,))
    return written


def _properties(path: str) -> object:
    from matplotlib.font_manager import FontProperties

    return FontProperties(fname=path, size=9)
