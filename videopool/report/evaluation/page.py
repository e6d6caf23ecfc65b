"""Render an evaluation as one HTML file, without any request to the network."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from videopool.config import Config, to_plain
from videopool.engine.scoring.ensemble import views_curve
from videopool.engine.scoring.results import REPORT
from videopool.engine.watching.log import read_lines
from videopool.files import escape_surrogates, write_text
from videopool.report.evaluation.charts import HEIGHT, WIDTH, Bar, Chart, Series, chart, number, percent
from videopool.report.evaluation.stored import StoredEvaluation
from videopool.report.evaluation.strips import FilmStrips
from videopool.report.evaluation.tables import (
    Bin,
    Prediction,
    calibration,
    class_rows,
    confused_pairs,
    headline,
    notable_predictions,
    rate_names,
)

_TEMPLATES = Path(__file__).parent / "templates"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A prediction with its film strip: a ``data:`` address and the size in pixels, or "" and the reason."""

    prediction: Prediction
    address: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""


def write_report(stored: StoredEvaluation, config: Config | None, strips: FilmStrips, pictures: int) -> Path:
    """Write ``report.html`` to the folder of the evaluation and return it.

    Args:
        stored: the evaluation.
        config: that of the run; None if it is not known.
        strips: the film strips of its videos.
        pictures: the largest number of predictions to show with a film strip.
    """
    return write_text(stored.folder / REPORT, render(content(stored, config, strips, pictures)))


def content(stored: StoredEvaluation, config: Config | None, strips: FilmStrips, pictures: int) -> dict[str, Any]:
    """Return the variables of the template."""
    metrics, curve = stored.metrics, views_curve(stored.files, stored.average)
    bins = calibration(stored)
    confusion = metrics.get("confusion", [])
    return {
        "title": _title(stored),
        "facts": _facts(stored),
        "notes": _notes(stored, curve),
        "headline": headline(stored),
        "rate_names": rate_names(stored),
        "classes": class_rows(stored),
        "labeled": stored.labeled,
        "several": stored.several_labels,
        "pairs": confused_pairs(confusion, stored.classes),
        "confusion": _sparse(confusion, stored.classes),
        "curve": curve,
        "curve_chart": _curve_chart(curve, stored) if len(curve) > 1 else None,
        "bins": bins,
        "calibration_chart": _calibration_chart(bins, metrics.get("ece")) if bins else None,
        "training": training_charts(stored.run) if stored.run else [],
        "pictures": [_picture(one, strips) for one in notable_predictions(stored, pictures)],
        "pictures_note": strips.note,
        "asked": pictures > 0,
        "settings": _flat(to_plain(config)) if config else {},
    }


def render(values: Mapping[str, Any]) -> str:
    """Return the page. All texts are escaped by the template engine."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    page = environment.get_template("report.html")
    return escape_surrogates(page.render(style=style, script=script, width=WIDTH, height=HEIGHT, **values))


def _title(stored: StoredEvaluation) -> str:
    run = stored.run.resolve().name if stored.run else stored.folder.resolve().name
    return f"Evaluation of {run}"


def _facts(stored: StoredEvaluation) -> list[tuple[str, str]]:
    """Return names and values of a line about the evaluation."""
    metrics = stored.metrics
    views = f"{metrics['views']} views each" if metrics.get("views") else f"{metrics['clips']:,} windows in all"
    facts = [
        ("videos", f"{metrics['videos'] - metrics['unscored']:,}, {views}"),
        ("classes", f"{len(stored.classes):,}"),
    ]
    if len(stored.files) > 1:
        facts.append(("ensemble of", ", ".join(str(file.path) for file in stored.files)))
    facts += [(key, _listed(metrics[key])) for key in ("checkpoint", "step", "weights") if metrics.get(key)]
    if metrics.get("overrides"):
        facts.append(("overrides", _listed(metrics["overrides"])))
    return facts


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _notes(stored: StoredEvaluation, curve: list[tuple[int, float]]) -> list[str]:
    """Return sentences about what does not count and what the report leaves out."""
    metrics, notes = stored.metrics, []
    if metrics["unscored"]:
        notes.append(f"{metrics['unscored']} of {metrics['videos']} videos were not scored and do not count.")
    if metrics.get("unlabeled"):
        notes.append(f"{metrics['unlabeled']} videos have no class and do not count.")
    if not stored.labeled:
        notes.append("The list has no labels, so there are no accuracies, confusions or calibration.")
    elif stored.several_labels:
        notes.append("Videos may have several classes, so there is no confusion matrix or calibration.")
    if stored.labeled and len(curve) < 2:
        notes.append(
            "The chart of the number of views is left out: it needs several views, the same number for all videos."
        )
    if stored.run is None and "config" in metrics:
        notes.append("The weights are of another package, so there are no training curves.")
    elif stored.run is None:
        notes.append("No config.yaml of a run was found, so training curves and configuration are left out.")
    return notes


def _sparse(confusion: list[list[int]], classes: tuple[str, ...]) -> dict[str, Any]:
    """Return the class names, and label, prediction and videos of each nonzero cell of the matrix in one list."""
    cells = [(row, column, n) for row, counts in enumerate(confusion) for column, n in enumerate(counts) if n]
    return {
        "classes": [escape_surrogates(name) for name in classes],
        "cells": [value for cell in cells for value in cell],
    }


def _curve_chart(curve: list[tuple[int, float]], stored: StoredEvaluation) -> Chart:
    metric = "mAP" if stored.several_labels else "top-1"
    return chart(
        "Number of views",
        [Series(metric, curve, marked=True)],
        x_label="views of each video",
        y_label=metric,
        description=f"Video-level {metric}: {_rounded(curve[0][1])} with {curve[0][0]} view, "
        f"{_rounded(curve[-1][1])} with {curve[-1][0]} views.",
        shown=percent,
    )


def _calibration_chart(bins: list[Bin], ece: float | None) -> Chart:
    bars = [
        Bar(one.low, one.high, one.accuracy, f"{one.videos} videos: {_rounded(one.accuracy)} correct, "
            f"mean probability {_rounded(one.probability)}")
        for one in bins
    ]  # fmt: skip
    error = "" if ece is None else f" The expected calibration error is {_rounded(ece)}."
    return chart(
        "Calibration",
        [Series("bins", [(one.probability, one.accuracy) for one in bins], marked=True, joined=False)],
        x_label="probability of the predicted class",
        y_label="correct",
        description=f"A dot is the mean probability and the accuracy of the videos of a bin, a bar the accuracy; a "
        f"calibrated network is on the diagonal.{error}",
        shown=percent,
        bars=bars,
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
        diagonal=True,
    )


def training_charts(run: Path) -> list[Chart]:
    """Return charts of the loss, accuracy and learning rate of a run; [] without ``log.jsonl``."""
    log, validation = read_lines(run / "log.jsonl"), read_lines(run / "validation.jsonl")
    loss = [Series("training loss", _points(log, "loss"))]
    accuracy = [
        Series("training top-1", _points(log, "top1")),
        Series("validation top-1", _points(validation, "video_top1"), marked=True),
        Series("validation mAP", _points(validation, "video_map"), marked=True),
    ]
    rate = [Series("learning rate", _points(log, "lr"))]
    charts = [
        _training_chart("Loss", loss, number),
        _training_chart("Accuracy", accuracy, percent),
        _training_chart("Learning rate", rate, number),
    ]
    return [one for one in charts if one.lines]


def _training_chart(title: str, series: list[Series], shown: Callable[[float], str]) -> Chart:
    kept = [one for one in series if one.points]
    last = "; ".join(f"{one.name} at the end: {shown(one.points[-1][1])}" for one in kept)
    return chart(title, kept, x_label="step", y_label=title.lower(), description=f"{last}.", shown=shown)


def _points(lines: list[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    return [(line["step"], line[key]) for line in lines if isinstance(line.get(key), float) and "step" in line]


def _picture(prediction: Prediction, strips: FilmStrips) -> Picture:
    if strips.note:
        return Picture(prediction)
    strip = strips.strip(prediction.video)
    if strip.pixels is None:
        return Picture(prediction, reason=strip.reason)
    address = f"data:image/jpeg;base64,{base64.b64encode(strip.jpeg()).decode()}"
    return Picture(prediction, address, width=strip.pixels.shape[1], height=strip.pixels.shape[0])


def _rounded(value: float) -> str:
    """Return a fraction as a percentage with one digit after the point."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the values of nested mappings by dotted names, as texts."""
    flat: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = str(value)
    return flat
