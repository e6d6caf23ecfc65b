"""Write the results of docs/evidence.md from the recorded runs: progress, accuracies, curves, a Pareto picture.

    python -m benchmarks.evidence

The records are benchmarks/results/evidence-words.jsonl and evidence-images.jsonl, which videopool compare --record
writes. The script replaces the text between two marks of docs/evidence.md, and writes docs/evidence_curves.svg and,
with the times and memory of benchmarks.evidence_cost (--cost FILE.json), docs/evidence_pareto.svg. The significance
tests are in the table.md of videopool compare, which needs the videos.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.evidence_cost import COMPARISONS
from videopool.compare.rates import trials_of
from videopool.compare.record import Key, read_runs
from videopool.config.comparison import Comparison, load_comparison
from videopool.files import write_text
from videopool.report.figures import save
from videopool.report.tables import markdown

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/evidence.md"
BEGIN, END = "<!-- runs: written by benchmarks/evidence.py -->", "<!-- end of runs -->"
TITLES = {"words": "Words from lips, C3D", "images": "CIFAR-10 (JPEG copy), VGG"}
# Okabe and Ito's colors, distinct for every kind of color vision; SoftPool has the strongest one.
COLORS = {
    "soft": "#d55e00", "max": "#0072b2", "avg": "#009e73", "soft detached": "#e69f00", "lp 2": "#cc79a7",
    "stochastic": "#56b4e9", "s3": "#999999", "lip": "#000000",
}  # fmt: skip

Rows = Mapping[Key, Mapping[str, Any]]


def planned(comparison: Comparison) -> tuple[list[Key], list[Key]]:
    """Return the keys of the runs that choose rates, and of those that are tested."""
    folds = comparison.folds - 1 if comparison.folds else 1
    trials = [(name, 0, comparison.seeds[0]) for method in comparison.methods for name in trials_of(comparison, method)]
    tests = [(m, fold, seed) for fold in range(folds) for seed in comparison.seeds for m in comparison.methods]
    return trials, tests


def methods_of(data: str) -> dict[str, list[Key]]:
    """Return the keys of the tested runs of each method on a data set."""
    found: dict[str, list[Key]] = {}
    for name in COMPARISONS[data]:
        for key in planned(load_comparison(name))[1]:
            found.setdefault(key[0], []).append(key)
    return {method: list(dict.fromkeys(keys)) for method, keys in found.items()}


def progress(records: Mapping[str, Rows]) -> str:
    """Return how many of the planned runs are finished, as Markdown."""
    rows = []
    for data, names in COMPARISONS.items():
        for name in names:
            trials, tests = planned(load_comparison(name))
            done = [sum(key in records[data] for key in keys) for keys in (trials, tests)]
            rows.append(
                {
                    "comparison": f"`{name}`",
                    "runs that choose rates": f"{done[0]} of {len(trials)}",
                    "tested runs": f"{done[1]} of {len(tests)}",
                }
            )
    open_runs = [key not in records[data] for data in COMPARISONS for key in every_key(data)]
    return f"**Runs not finished: {sum(open_runs)} of {len(open_runs)}.**\n\n{markdown(rows, list(rows[0]))}"


def every_key(data: str) -> list[Key]:
    """Return the keys of all runs on a data set, those that two comparisons share once."""
    return list(
        dict.fromkeys(key for name in COMPARISONS[data] for keys in planned(load_comparison(name)) for key in keys)
    )


def accuracies(data: str, rows: Rows) -> str:
    """Return the accuracies of the methods that have a tested run, as Markdown; a sentence if there is none."""
    table = []
    for method, keys in methods_of(data).items():
        runs = [rows[key] for key in keys if key in rows]
        if not runs:
            continue
        top1 = [100 * run["video_top1"] for run in runs]
        table.append(
            {
                "method": method,
                "runs": f"{len(runs)} of {len(keys)}",
                "top-1 %": f"{statistics.mean(top1):.1f}",
                "sd of runs": f"{statistics.stdev(top1):.1f}" if len(top1) > 1 else None,
                "training top-1 %": f"{100 * statistics.mean(run['train_top1'] for run in runs):.1f}",
                "training loss": f"{statistics.mean(run['train_loss'] for run in runs):.3f}",
                "lr": f"{runs[0]['config']['optim']['lr']:g}",
            }
        )
    return markdown(table, list(table[0])) if table else "No tested run is finished."


def trials(data: str, rows: Rows) -> str:
    """Return the validation accuracy of the finished runs that choose rates, as Markdown; a sentence if none is."""
    table = []
    for name in COMPARISONS[data]:
        comparison = load_comparison(name)
        for method in comparison.methods:
            keys = [(trial, 0, comparison.seeds[0]) for trial in trials_of(comparison, method)]
            cells = {
                f"lr {rate:g}": f"{100 * rows[key]['video_top1']:.1f}" if key in rows else None
                for rate, key in zip(comparison.rates, keys, strict=True)
            }
            row = {"method": method, **cells}
            if any(cells.values()) and row not in table:
                table.append(row)
    return markdown(table, list(table[0])) if table else "No run that chooses rates is finished."


def section(records: Mapping[str, Rows], *, with_pareto: bool = False) -> str:
    """Return the text between the marks of the page."""
    parts = [BEGIN, progress(records)]
    for data, rows in records.items():
        parts += [f"### {TITLES[data]}", "Validation accuracy in % by learning rate:", trials(data, rows)]
        parts += ["Tested:", accuracies(data, rows)]
    if any(records.values()):
        parts.append("![Training loss and accuracy of every method](evidence_curves.svg)")
    if with_pareto:
        parts.append(
            "![Accuracy, time and memory of every method; bars: standard error over runs](evidence_pareto.svg)"
        )
    return "\n\n".join([*parts, END])


def draw_curves(records: Mapping[str, Rows], path: Path) -> None:
    """Draw the training loss and accuracy over the steps: the mean of the runs of each method, for data with runs."""
    from matplotlib.figure import Figure

    begun = {data: rows for data, rows in records.items() if rows}
    figure = Figure(figsize=(9, 3.2 * len(begun)), layout="constrained")
    axes = figure.subplots(len(begun), 2, squeeze=False)
    for (data, rows), (loss, accuracy) in zip(begun.items(), axes, strict=True):
        for label, curves in _curves(data, rows).items():
            steps = [point[0] for point in curves[0]]
            color = COLORS.get(label.partition(", lr")[0])
            style = "--" if ", lr" in label else "-"
            for axis, column, scale in ((loss, 1, 1), (accuracy, 2, 100)):
                means = [scale * statistics.mean(values) for values in zip(*_columns(curves, column), strict=True)]
                axis.plot(steps, means, style, color=color, label=label, linewidth=1.3)
        loss.set_title(TITLES[data], fontsize=10, loc="left")
        for axis, name in ((loss, "training loss"), (accuracy, "training top-1 (%)")):
            axis.set_xlabel("step")
            axis.set_ylabel(name)
            axis.grid(linewidth=0.5, alpha=0.4)
        accuracy.legend(fontsize=7)
    save(figure, path, (".svg",))


def draw_pareto(records: Mapping[str, Rows], costs: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draw accuracy over the time and over the memory of a training step; return whether there is anything to draw.

    Bars are the standard error of the mean over runs.
    """
    from matplotlib.figure import Figure

    points = defaultdict(list)
    for cost in costs:
        keys = methods_of(cost["data"]).get(cost["method"], [])
        top1 = [records[cost["data"]][key]["video_top1"] for key in keys if key in records[cost["data"]]]
        if top1:
            error = 100 * statistics.stdev(top1) / len(top1) ** 0.5 if len(top1) > 1 else 0.0
            points[cost["data"]].append((cost, 100 * statistics.mean(top1), error))
    if not points:
        return False
    figure = Figure(figsize=(9, 3.4 * len(points)), layout="constrained")
    axes = figure.subplots(len(points), 2, squeeze=False)
    for (data, found), pair in zip(points.items(), axes, strict=True):
        for axis, name, unit in zip(pair, ("median_ms", "saved"), (1, 2**-20), strict=True):
            for rank, (cost, top1, error) in enumerate(sorted(found, key=lambda point: point[1])):
                axis.errorbar(cost[name] * unit, top1, error, fmt="o", color=COLORS.get(cost["method"]))
                place = (cost[name] * unit, top1)
                beside = (5, -10 if rank % 2 == 0 else 3)  # labels of similar accuracy do not overlap
                axis.annotate(cost["method"], place, beside, textcoords="offset points", fontsize=8)
            axis.set_xlabel("ms of a training step" if unit == 1 else "MiB kept for the backward pass")
            axis.set_ylabel("test top-1 (%)")
            axis.margins(0.18)
            axis.grid(linewidth=0.5, alpha=0.4)
        pair[0].set_title(TITLES[data], fontsize=10, loc="left")
    save(figure, path, (".svg",))
    return True


def _curves(data: str, rows: Rows) -> dict[str, list[list[list[float]]]]:
    """Return the curves of the tested runs of each method; without any, those of the runs that choose rates."""
    tested = {m: [rows[key]["curve"] for key in keys if key in rows] for m, keys in methods_of(data).items()}
    found = {method: curves for method, curves in tested.items() if curves}
    return found or {key[0]: [row["curve"]] for key, row in rows.items()}


def _columns(curves: Sequence[Sequence[Sequence[float]]], column: int) -> list[list[float]]:
    return [[point[column] for point in curve] for curve in curves]


def main() -> None:
    """Write the section and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cost", type=Path, metavar="FILE.json", help="times and memory for the Pareto picture")
    arguments = parser.parse_args()
    records = {data: read_runs(ROOT / f"benchmarks/results/evidence-{data}.jsonl") for data in COMPARISONS}
    if any(records.values()):
        draw_curves(records, ROOT / "docs/evidence_curves")
    pareto = ROOT / "docs/evidence_pareto"
    if arguments.cost:
        costs = json.loads(arguments.cost.read_text(encoding="utf-8"))["rows"]
        if not draw_pareto(records, costs, pareto):
            print("no method has both a tested run and a cost; no Pareto picture is drawn")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    text = section(records, with_pareto=pareto.with_suffix(".svg").exists())
    write_text(PAGE, before + text + rest.partition(END)[2])


if __name__ == "__main__":
    main()
