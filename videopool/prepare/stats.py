"""Describe a data set from its manifest: classes, durations, sizes and codecs as tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np

from videopool.console import format_duration
from videopool.data.lists.manifest import Manifest
from videopool.report.tables import Row, markdown

_SHARES = {"minimum": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "maximum": 1.0}
_MOST_ROWS = 20  # of a table; of classes, half are the largest and half the smallest


def describe(manifest: Manifest, name: str) -> str:
    """Return Markdown tables that describe the data set ``name``."""
    sections = {
        f"# {name}": _overview(manifest),
        "## Distributions": _table(distributions(manifest), ("", *_SHARES)),
        "## Classes": _classes(manifest),
        "## Codecs": _kinds(codecs(manifest)),
        "## Sizes": _kinds(sizes(manifest)),
    }
    if not manifest.good.all():
        reasons = (re.sub(r"\d+(\.\d+)?", "N", reason) for _, reason in manifest.bad_videos())  # numbers differ
        sections["## Unreadable videos"] = _kinds(reasons)
    return "\n\n".join(f"{title}\n\n{text}" for title, text in sections.items()) + "\n"


def distributions(manifest: Manifest) -> list[Row]:
    """Return a row for each quantity: its minimum, quantiles and maximum over the readable videos."""
    rows: list[Row] = []
    for name, values in quantities(manifest).items():
        known = values[np.isfinite(values)]
        if len(known):
            found = np.quantile(known, list(_SHARES.values()), method="inverted_cdf")
            rows.append({"": name, **{share: f"{value:.4g}" for share, value in zip(_SHARES, found, strict=True)}})
    return rows


def quantities(manifest: Manifest) -> dict[str, np.ndarray]:
    """Return float64 [G] for the G readable videos, NaN where unknown, by names that include the units."""

    def known(name: str) -> np.ndarray:
        values = _good(manifest, name).astype(np.float64)
        return np.where(values < 0, np.nan, values)

    seconds, megabytes = known("duration_seconds"), known("size_bytes") / 1e6
    return {
        "duration (s)": seconds,
        "frames": known("frames_listed"),
        "frames per second": known("fps"),
        "short side (pixels)": np.minimum(known("width"), known("height")),
        "keyframe interval (frames)": known("keyframe_interval"),
        "hidden frames": known("hidden"),
        "size (MB)": megabytes,
        "bit rate (Mbit/s)": 8 * megabytes / seconds,
    }


def class_counts(manifest: Manifest) -> np.ndarray:
    """Return the number of videos of each class, int64 [K], including unreadable ones."""
    return np.bincount(manifest.table.pairs()[1], minlength=len(manifest.classes))


def sizes(manifest: Manifest) -> list[str]:
    """Return ``width x height`` of each readable video."""
    return [
        f"{width} x {height}"
        for width, height in zip(_good(manifest, "width").tolist(), _good(manifest, "height").tolist(), strict=True)
    ]


def codecs(manifest: Manifest) -> list[str]:
    """Return the codec of each readable video."""
    return [manifest.codecs[code] or "unknown" for code in _good(manifest, "codec").tolist()]


def _good(manifest: Manifest, name: str) -> np.ndarray:
    return manifest.table.columns[name][manifest.good]


def _overview(manifest: Manifest) -> str:
    bad = int((~manifest.good).sum())
    found = quantities(manifest)
    seconds, megabytes = float(np.nansum(found["duration (s)"])), float(np.nansum(found["size (MB)"]))
    counts = class_counts(manifest)
    lines = [
        f"- {len(manifest.table)} videos, {bad} unreadable",
        f"- {format_duration(seconds)}, {megabytes:.1f} MB in readable videos",
        f"- {len(counts)} classes, each with {_span(counts.tolist())} videos",
        f"- made by `{manifest.made}`",
    ]
    return "\n".join(lines)


def _classes(manifest: Manifest) -> str:
    """Return a table of all classes, or of the largest and the smallest, by falling size."""
    counts = class_counts(manifest)
    order = np.argsort(-counts, kind="stable")
    shares = [f"{100 * count / max(counts.sum(), 1):.2f} %" for count in counts]
    rows = [{"class": manifest.classes[k], "videos": int(counts[k]), "share": shares[k]} for k in order]
    if len(rows) <= _MOST_ROWS:
        return markdown(rows, ("class", "videos", "share"))
    half = _MOST_ROWS // 2
    between: Row = {"class": f"... {len(rows) - 2 * half} more ...", "videos": None, "share": None}
    return markdown([*rows[:half], between, *rows[-half:]], ("class", "videos", "share"))


def _kinds(kinds: Iterable[str]) -> str:
    """Return a table of how often each kind occurs, the most frequent first."""
    found = Counter(kinds)
    rows: list[Row] = [{"": kind, "videos": count} for kind, count in found.most_common(_MOST_ROWS)]
    others = sum(found.values()) - sum(count for _, count in found.most_common(_MOST_ROWS))
    if others:
        rows.append({"": f"{len(found) - _MOST_ROWS} other kinds", "videos": others})
    return markdown(rows, ("", "videos")) if rows else "none"


def _table(rows: list[Row], columns: tuple[str, ...]) -> str:
    return markdown(rows, columns) if rows else "none"


def _span(counts: list[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return str(low) if low == high else f"{low} to {high}"
