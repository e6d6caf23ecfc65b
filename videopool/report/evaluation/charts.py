"""Line and bar charts as numbers of pixels, which a template draws as SVG."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 10, 38  # margins
MOST_POINTS = 300  # of a line; more are averaged in groups

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Series:
    """A line of a chart: its name, its points, whether each is marked, and whether they are joined."""

    name: str
    points: Sequence[Point]
    marked: bool = False
    joined: bool = True


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bar from ``low`` to ``high`` on the horizontal axis, ``value`` high."""

    low: float
    high: float
    value: float
    about: str


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A line in pixels: the ``d`` of an SVG path ("" without one), and the marked points with their texts."""

    name: str
    path: str
    marks: tuple[tuple[float, float, str], ...]


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart in pixels.

    Attributes:
        title, x_label, y_label: texts.
        description: what the chart shows, for people who cannot see it.
        x_ticks, y_ticks: positions and texts.
        lines: in pixels.
        bars: (x, y, width, height, text) of each bar.
        diagonal: the path of the line y = x; "" without it.
    """

    title: str
    x_label: str
    y_label: str
    description: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[Drawn, ...]
    bars: tuple[tuple[float, float, float, float, str], ...] = ()
    diagonal: str = ""


@dataclasses.dataclass(frozen=True)
class Scale:
    """Maps values from ``low`` to ``high`` linearly to pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of ``value``, rounded to a tenth."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def percent(value: float) -> str:
    """Return a fraction as a percentage of up to four digits, such as ``93.33 %``, with a space that does not break."""
    return f"{100 * value:.4g}\N{NO-BREAK SPACE}%"


def number(value: float) -> str:
    """Return a number with up to four digits; large whole numbers have commas."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    description: str,
    shown: Callable[[float], str] = number,
    bars: Sequence[Bar] = (),
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    diagonal: bool = False,
) -> Chart:
    """Return a chart whose axes contain all points, or have the given ranges. Counts have ticks at whole numbers.

    Args:
        title, x_label, y_label, description: see ``Chart``.
        series: the lines; points that are not finite are left out.
        shown: formats values of the vertical axis.
        bars: drawn below the lines.
        x_range, y_range: of the axes.
        diagonal: whether to draw the line y = x.
    """
    kept = [dataclasses.replace(one, points=_thinned(_finite(one.points))) for one in series]
    points = [point for one in kept for point in one.points]
    x_low, x_high = x_range or _limits([x for x, _ in points])
    counts = x_range is None and all(float(x).is_integer() for x, _ in points)
    x_ticks = [tick for tick in ticks(x_low, x_high) if x_low <= tick <= x_high and (tick.is_integer() or not counts)]
    y_low, y_high = y_range or _limits([y for _, y in points])
    y_ticks = ticks(max(y_low, 0.0), min(y_high, 1.0)) if shown is percent else ticks(y_low, y_high)
    y_low, y_high = y_range or (y_ticks[0], y_ticks[-1])
    x = Scale(x_low, x_high, LEFT, WIDTH - RIGHT)
    y = Scale(y_low, y_high, HEIGHT - BOTTOM, TOP)
    return Chart(
        title=title,
        x_label=x_label,
        y_label=y_label,
        description=description,
        x_ticks=tuple((x(tick), number(tick)) for tick in x_ticks),
        y_ticks=tuple((y(tick), shown(tick)) for tick in y_ticks if y_low <= tick <= y_high),
        lines=tuple(_drawn(one, x, y, shown) for one in kept),
        bars=tuple(_bar(bar, x, y) for bar in bars),
        diagonal=f"M{x(x_low)},{y(x_low)}L{x(x_high)},{y(x_high)}" if diagonal else "",
    )


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most ``most`` + 1 multiples of 1, 2 or 5 times a power of ten, the first <= low, the last >= high."""
    raw = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _finite(points: Sequence[Point]) -> list[Point]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - 0.5 * (abs(low) or 1.0), low + 0.5 * (abs(low) or 1.0))


def _thinned(points: list[Point]) -> list[Point]:
    """Return the means of groups of neighboring points, at most ``MOST_POINTS``."""
    size = -(-len(points) // MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)] if size > 1 else []
    means = [(sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group)) for group in groups]
    return means or points


def _drawn(series: Series, x: Scale, y: Scale, shown: Callable[[float], str]) -> Drawn:
    pixels = [(x(a), y(b)) for a, b in series.points]
    path = "".join(f"{'L' if place else 'M'}{a},{b}" for place, (a, b) in enumerate(pixels))
    texts = [f"{number(a)}: {shown(b)}" for a, b in series.points] if series.marked else []
    return Drawn(
        series.name,
        path if series.joined else "",
        tuple((*pixel, text) for pixel, text in zip(pixels, texts, strict=False)),
    )


def _bar(bar: Bar, x: Scale, y: Scale) -> tuple[float, float, float, float, str]:
    left, right, top = x(bar.low) + 1, x(bar.high) - 1, y(bar.value)
    return left, top, round(right - left, 1), round(HEIGHT - BOTTOM - top, 1), bar.about
