"""Compute the figures of each method from its finished runs, and write the files of a comparison."""

from __future__ import annotations

import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from videopool.compare import significance
from videopool.compare.figure import draw
from videopool.compare.folds import Fold
from videopool.compare.method_result import MethodResult
from videopool.compare.plan import ComparisonPlan
from videopool.compare.significance import Difference
from videopool.compare.supervise import Failures, Results
from videopool.compare.table import Design, conclusion, page
from videopool.config import to_plain
from videopool.files import strip_local_paths, write_text
from videopool.report.tables import csv_text, json_text

_NOT_PUBLISHED = ("config", "lists")  # stay in the folder of the run


class Report:
    """Writes the results of a comparison: results.json, table.csv, table.md and, after a first run, figure.png/.svg.

    They contain no paths of this machine.

    Args:
        command: the command line, which the results quote.
        rates: the learning rates that were chosen for the methods.

    Attributes:
        written: the files written last.
        conclusion: the conclusion of ``table.md``.
    """

    def __init__(self, plan: ComparisonPlan, command: str, rates: Mapping[str, float] | None = None) -> None:
        self.plan, self.command, self.rates = plan, command, rates or {}
        self.conclusion = ""
        self.written: list[Path] = []

    def write(self, results: Results, failures: Failures) -> None:
        """Write the files for the runs finished so far."""
        out, comparison = Path(self.plan.comparison.out), self.plan.comparison
        methods = summarize(self.plan, results, failures)
        design = self._design(results, failures)
        self.conclusion = conclusion(methods, design)
        content = {
            "command": self.command,
            "reference": comparison.against,
            "runs_done": len(results),
            "runs_planned": len(self.plan.runs),
            "same_initial_weights": design.same_weights,
            "chance": design.chance,
            "conclusion": self.conclusion,
            "config": to_plain(comparison.configs[comparison.against]),
            "pooling": comparison.methods,
            "rates": self.rates,
            "folds": [_fold(fold, out) for fold in self.plan.folds],
            "methods": [{**one.row(), "by_seed": one.by_seed} for one in methods],
            "failures": [{"method": m, "fold": f, "seed": s, "reason": why} for (m, f, s), why in failures.items()],
            "runs": [_published(result, self.plan.labels) for result in results.values()],
        }
        self.written = [
            write_text(out / "results.json", strip_local_paths(json_text(content), out)),
            write_text(out / "table.csv", csv_text([one.row() for one in methods])),
            write_text(out / "table.md", strip_local_paths(page(methods, design), out)),
            *(draw(out / "figure", methods, design) if methods else ()),
        ]

    def _design(self, results: Results, failures: Failures) -> Design:
        comparison = self.plan.comparison
        labels = Counter(self.plan.labels.values())
        config = next(iter(comparison.configs.values()))
        described = [config.model.target or config.model.name, *(f"{k} {v}" for k, v in config.model.arguments.items())]
        return Design(
            command=self.command,
            reference=comparison.against,
            network=", ".join(described),
            recipe=f"{config.train.epochs} epochs, batches of {config.train.batch}, {config.optim.name}",
            group=comparison.group,
            videos=len(self.plan.labels),
            classes=len(labels),
            folds=len(self.plan.folds),
            seeds=comparison.seeds,
            chance=max(labels.values()) / len(self.plan.labels),
            hardware=sorted({_hardware(result) for result in results.values()}),
            done=len(results),
            planned=len(self.plan.runs),
            others=len(comparison.methods) - 1,
            same_weights=same_initial_weights(results),
            rates=self.rates,
            failures={f"{m}, fold {f}, seed {s}": why for (m, f, s), why in failures.items()},
        )


def summarize(plan: ComparisonPlan, results: Results, failures: Failures) -> list[MethodResult]:
    """Return the figures of every method with a finished run, in the order of the file."""
    outcomes: dict[str, dict[tuple[int, int], dict[str, int]]] = defaultdict(dict)
    for (method, fold, seed), result in results.items():
        outcomes[method][fold, seed] = result["correct"]
    reference = plan.comparison.against
    others = len(plan.comparison.methods) - 1
    tested = significance.compare(outcomes, reference, others, plan.groups) if reference in outcomes else {}
    return [
        _method(name, plan, [r for (m, _, _), r in results.items() if m == name], failures, tested.get(name))
        for name in plan.comparison.methods
        if name in outcomes
    ]


def same_initial_weights(results: Results) -> bool | None:
    """Return whether all methods started with the same weights (except pooling layers) in every fold and seed.

    None as long as no fold and seed was finished by two methods.
    """
    hashes_of: dict[tuple[int, int], list[str]] = defaultdict(list)
    for (_, fold, seed), result in results.items():
        hashes_of[fold, seed].append(result["initial_weights"])
    shared = [hashes for hashes in hashes_of.values() if len(hashes) > 1]
    return all(len(set(hashes)) == 1 for hashes in shared) if shared else None


def _method(
    name: str, plan: ComparisonPlan, runs: list[dict[str, Any]], failures: Failures, against: Difference | None
) -> MethodResult:
    def mean(key: str) -> float:
        return sum(run[key] for run in runs) / len(runs)

    def median(key: str) -> float | None:
        known = [run[key] for run in runs if run[key] is not None]
        return statistics.median(known) if known else None

    by_seed = {}
    for seed in plan.comparison.seeds:
        mine = [run["correct"] for run in runs if run["seed"] == seed]
        if len(mine) == len(plan.folds):
            by_seed[seed] = _accuracy(mine)
    kept = [value for run in runs for value in run["information_kept"].values()]
    return MethodResult(
        method=name,
        runs=len(runs),
        failed=sum(method == name for method, _, _ in failures),
        complete=len(runs) == len(plan.folds) * len(plan.comparison.seeds),
        video_top1=_accuracy([run["correct"] for run in runs]),
        video_top1_sd=_deviation(list(by_seed.values())),
        video_top1_sd_runs=_deviation([run["video_top1"] for run in runs]),
        clip_top1=sum(run["clip_top1"] * len(run["correct"]) for run in runs)
        / sum(len(run["correct"]) for run in runs),
        mean_class_accuracy=mean("mean_class_accuracy"),
        train_loss=mean("train_loss"),
        train_top1=mean("train_top1"),
        train_seconds=median("train_seconds"),
        step_seconds=median("step_seconds"),
        peak_memory=max(run["peak_memory"] for run in runs),
        memory_before=max(run["memory_before"] for run in runs),
        parameters=runs[0]["parameters"],
        pooling_parameters=runs[0]["pooling_parameters"],
        information_kept=sum(kept) / len(kept) if kept else None,
        by_seed=by_seed,
        against=against,
    )


def _fold(fold: Fold, out: Path) -> dict[str, Any]:
    """Return a fold as plain values, with its lists relative to the folder of the comparison if they are inside."""
    lists = {name: Path(getattr(fold, name)) for name in ("train", "test")}
    named = {name: str(path.relative_to(out) if path.is_relative_to(out) else path) for name, path in lists.items()}
    return {**named, "groups": fold.groups}


def _published(result: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return what is published of a run's result; absolute ``names`` of videos are shortened by what they share."""
    absolute = [name for name in names if Path(name).is_absolute()]
    base = os.path.commonpath([Path(name).parent for name in absolute]) if absolute else "."
    correct = {os.path.relpath(k, base) if Path(k).is_absolute() else k: v for k, v in result["correct"].items()}
    return {k: v for k, v in result.items() if k not in _NOT_PUBLISHED} | {"correct": correct}


def _hardware(result: dict[str, Any]) -> str:
    side_by_side = result["side_by_side"]
    return result["hardware"] + (f", {side_by_side} runs side by side" if side_by_side > 1 else "")


def _accuracy(correct: Sequence[dict[str, int]]) -> float:
    return sum(sum(one.values()) for one in correct) / sum(map(len, correct))


def _deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation (n - 1), or None for fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None
