"""Write the results of the similarity experiment: a page in Markdown, rows as CSV, everything as JSON, charts."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from videopool.files import write_text
from videopool.report.figures import save
from videopool.report.pictures import chart
from videopool.report.similarity_run import RESIZES
from videopool.report.similarity_study import BASELINE, RESIZE_NAMES, Study, window_text
from videopool.report.tables import csv_text, json_text, markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROUNDING = 1e-6  # differences of SSIM below this are rounding errors


def write_results(
    folder: Path, name: str, studies: Sequence[Study], *, command: str, grids: Mapping[str, Figure]
) -> list[Path]:
    """Write ``name``.md, .csv and .json, a chart (PNG, SVG) for each set and form of window, and ``grids`` (PNG).

    Args:
        folder: created if it does not exist.
        name: the start of all file names.
        studies: the results.
        command: the command line.
        grids: more pictures, by the end of their names.

    Returns:
        The files written, the page last.
    """
    charts = {
        f"-{study.kind}-{family.replace(' ', '')}": chart(study, family, windows)
        for study in studies
        for family, windows in study.families
    }
    written = [path for end, figure in charts.items() for path in save(figure, folder / (name + end), (".png", ".svg"))]
    written += [path for end, figure in grids.items() for path in save(figure, folder / f"{name}-{end}")]
    pictures = [path.name for path in written if path.suffix == ".png"]
    written.append(write_text(folder / f"{name}.csv", csv_text(csv_rows(studies))))
    written.append(write_text(folder / f"{name}.json", json_text(json_content(studies, command=command))))
    text = page_text(studies, command=command, pictures=pictures)
    return [*written, write_text(folder / f"{name}.md", text)]


def page_text(studies: Sequence[Study], *, command: str, pictures: Sequence[str]) -> str:
    """Return the page; ``pictures`` are names of files in its folder."""
    lines = ["# What pooling keeps of images and clips", "", f"    {command}", "", *_protocol(studies), ""]
    lines += [f"![{name}]({name})\n" for name in pictures]
    for study in studies:
        for family, windows in study.families:
            for resize in RESIZES:
                lines += [
                    f"## {study.kind.capitalize()}, windows {family}, restored by {RESIZE_NAMES[resize]}",
                    "",
                    _scores_table(study, windows, resize),
                    "",
                ]
        if study.has_baseline and len(study.variants) > 1:
            lines += [*_gains(study), ""]
    return "\n".join(lines).rstrip() + "\n"


def csv_rows(studies: Sequence[Study]) -> list[dict[str, object]]:
    """Return a row for each variant, window and resize: mean, standard deviation and extremes over the items."""
    return [
        {
            "set": study.kind,
            "method": variant.name,
            "window": window_text(window),
            "resize": resize,
            "items": len(study.shapes),
            **_summary("ssim", [m.ssim for m in study.scores(variant.name, window, resize)]),
            **_summary("psnr", [m.psnr for m in study.scores(variant.name, window, resize)]),
        }
        for study in studies
        for window in study.windows
        for resize in RESIZES
        for variant in study.variants
    ]


def json_content(studies: Sequence[Study], *, command: str) -> dict[str, object]:
    """Return every similarity, for programs."""
    return {
        "command": command,
        "versions": _versions(),
        "sets": [
            {
                "set": study.kind,
                "items": study.shapes,
                "draws": study.draws,
                "methods": [dataclasses.asdict(variant) for variant in study.variants],
                "measured": [dataclasses.asdict(similarity) for similarity in study.similarities],
            }
            for study in studies
        ],
    }


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "scikit-image")}


def _protocol(studies: Sequence[Study]) -> list[str]:
    """Return a summary of the protocol, which docs/similarity.md describes in full."""
    versions = ", ".join(f"{name} {number}" for name, number in _versions().items())
    lines = [
        "Values 0..1; windows of k cells with stride k, the last of an axis cut short by the border (`ceil_mode`); "
        "restored by nearest neighbor or by linear interpolation between the centers of windows; SSIM (Gaussian of "
        "sigma 1.5, 11 x 11 pixels) and PSNR in dB against the original, in RGB. Mean ± standard deviation over the "
        f"items; the best of a column in bold. {versions}. docs/similarity.md describes the protocol.",
        "",
    ]
    for study in studies:
        items = ", ".join(f"{name} ({shape})" for name, shape in study.shapes.items())
        lines.append(f"- {study.kind}: {items}.")
    draws = studies[0].draws
    if any(variant.draws for variant in studies[0].variants):
        lines.append(
            f"- (train): scores are means over {draws} draws, seeds 0 to {draws - 1}; all others use no randomness."
        )
    return lines


def _scores_table(study: Study, windows: Sequence[tuple[int, ...]], resize: str) -> str:
    best = {
        (window, score): max(_mean(study, variant.name, window, resize, score) for variant in study.variants)
        for window in windows
        for score in ("ssim", "psnr")
    }
    rows = []
    for variant in study.variants:
        row = {"method": variant.name, "state": variant.note or "-"}
        for score, digits in (("ssim", 3), ("psnr", 2)):
            for window in windows:
                mean = _mean(study, variant.name, window, resize, score)
                values = [getattr(m, score) for m in study.scores(variant.name, window, resize)]
                text = f"{mean:.{digits}f}"
                bold = text == f"{best[window, score]:.{digits}f}"
                spread = f" ± {_deviation(values):.{digits}f}" if len(values) > 1 and math.isfinite(mean) else ""
                row[f"{score.upper()} {window_text(window)}"] = (f"**{text}**" if bold else text) + spread
        rows.append(row)
    return markdown(rows, list(rows[0]))


def _gains(study: Study) -> list[str]:
    """Return the lines that compare SSIM with average pooling on each item."""
    lines = [
        f"## {study.kind.capitalize()}: SSIM minus that of average pooling on the same item",
        "",
        "Mean over the items, and the number of items on which the method is above average pooling.",
    ]
    others = [variant for variant in study.variants if variant.name != BASELINE]
    for resize in RESIZES:
        rows = [
            {"method": other.name}
            | {window_text(window): _gain(study, other.name, window, resize) for window in study.windows}
            for other in others
        ]
        lines += ["", f"Restored by {RESIZE_NAMES[resize]}:", "", markdown(rows, list(rows[0]))]
    return lines


def _gain(study: Study, variant: str, window: tuple[int, ...], resize: str) -> str:
    gains = study.gains(variant, window, resize)
    higher = sum(gain > ROUNDING for gain in gains)
    mean = statistics.fmean(gains)
    return f"{mean if abs(mean) > ROUNDING else 0:+.4f} ({higher} of {len(gains)})"


def _mean(study: Study, variant: str, window: tuple[int, ...], resize: str, score: str) -> float:
    return statistics.fmean(getattr(m, score) for m in study.scores(variant, window, resize))


def _deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of a sample; NaN for a single value or infinite ones."""
    return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan


def _summary(name: str, values: Sequence[float]) -> dict[str, object]:
    deviation = _deviation(values)
    return {
        f"{name}_mean": statistics.fmean(values),
        f"{name}_std": None if math.isnan(deviation) else deviation,
        f"{name}_min": min(values),
        f"{name}_max": max(values),
    }
