"""From finished runs to figures for each method, and the files of a comparison."""

from __future__ import annotations

import os
import statistics as numbers
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from videopool.compare import statistics
from videopool.compare.figure import draw
from videopool.compare.folds import Fold
from videopool.compare.method_result import MethodResult
from videopool.compare.plan import Plan
from videopool.compare.statistics import Difference
from videopool.compare.supervise import Failures, Results
from videopool.compare.table import Words, conclusion, page
from videopool.config import to_plain
from videopool.files import portable, write_text
from videopool.report.tables import csv_text, json_text

_OF_A_RUN = ("config", "lists", "train_videos", "test_videos")  # stay in its folder


class Report:
    """Writes results.json, table.csv, table.md and, once a run is finished, figure.png/.svg into the folder of the
    comparison. ``written``: what was, ``conclusion``: what it says. Places of this machine are in none of them."""

    def __init__(self, plan: Plan, command: str) -> None:
        self.plan, self.command = plan, command
        self.conclusion = ""
        self.written: list[Path] = []

    def write(self, results: Results, failures: Failures) -> None:
        """The files of what there is so far."""
        out, comparison = Path(self.plan.comparison.out), self.plan.comparison
        methods = summarize(self.plan, results, failures)
        words = self._words(results, failures)
        self.conclusion = conclusion(methods, words)
        content = {
            "command": self.command,
            "reference": comparison.against,
            "runs_done": len(results),
            "runs_planned": len(self.plan.runs),
            "same_initial_weights": words.same_weights,
            "chance": words.chance,
            "conclusion": self.conclusion,
            "config": to_plain(comparison.configs[comparison.against]),
            "pooling": comparison.methods,
            "folds": [_fold(fold, out) for fold in self.plan.folds],
            "methods": [{**one.row(), "by_seed": one.by_seed} for one in methods],
            "failures": [{"method": m, "fold": f, "seed": s, "reason": why} for (m, f, s), why in failures.items()],
            "runs": [_published(result, self.plan.labels) for result in results.values()],
        }
        self.written = [
            write_text(out / "results.json", portable(json_text(content), out)),
            write_text(out / "table.csv", csv_text([one.row() for one in methods])),
            write_text(out / "table.md", portable(page(methods, words), out)),
            *(draw(out / "figure.png", methods, words) if methods else ()),
        ]

    def _words(self, results: Results, failures: Failures) -> Words:
        comparison = self.plan.comparison
        labels = Counter(self.plan.labels.values())
        config = next(iter(comparison.configs.values()))
        described = [config.model.target or config.model.name, *(f"{k} {v}" for k, v in config.model.arguments.items())]
        return Words(
            command=self.command,
            reference=comparison.against,
            network=", ".join(described),
            recipe=f"{config.train.epochs} epochs, batches of {config.train.batch_per_device}, {config.optim.name}",
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
            failures={f"{m}, fold {f}, seed {s}": why for (m, f, s), why in failures.items()},
        )


def summarize(plan: Plan, results: Results, failures: Failures) -> list[MethodResult]:
    """Figures of every method with a finished run, in the order of the file."""
    outcomes: dict[str, dict[tuple[int, int], dict[str, int]]] = defaultdict(dict)
    for (method, fold, seed), result in results.items():
        outcomes[method][fold, seed] = result["correct"]
    reference = plan.comparison.against
    others = len(plan.comparison.methods) - 1
    tested = statistics.compare(outcomes, reference, others) if reference in outcomes else {}
    return [
        _method(name, plan, [r for (m, _, _), r in results.items() if m == name], failures, tested.get(name))
        for name in plan.comparison.methods
        if name in outcomes
    ]


def same_initial_weights(results: Results) -> bool | None:
    """Whether all methods began with the same weights, those of pooling layers aside, in every fold and seed; None
    while no two methods have finished the same."""
    begun: dict[tuple[int, int], list[str]] = defaultdict(list)
    for (_, fold, seed), result in results.items():
        begun[fold, seed].append(result["initial_weights"])
    shared = [hashes for hashes in begun.values() if len(hashes) > 1]
    return all(len(set(hashes)) == 1 for hashes in shared) if shared else None


def _method(
    name: str, plan: Plan, runs: list[dict[str, Any]], failures: Failures, against: Difference | None
) -> MethodResult:
    def mean(key: str) -> float:
        return sum(run[key] for run in runs) / len(runs)

    def median(key: str) -> float | None:
        known = [run[key] for run in runs if run[key] is not None]
        return numbers.median(known) if known else None

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
    """A fold whose lists are named from the folder of the comparison, if they lie there."""
    lists = {name: Path(getattr(fold, name)) for name in ("train", "test")}
    named = {name: str(path.relative_to(out) if path.is_relative_to(out) else path) for name, path in lists.items()}
    return {**named, "groups": fold.groups}


def _published(result: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A run's result without what stays in its folder; absolute ``names`` of videos begin below what they share."""
    absolute = [name for name in names if Path(name).is_absolute()]
    base = os.path.commonpath([Path(name).parent for name in absolute]) if absolute else "."
    correct = {os.path.relpath(k, base) if Path(k).is_absolute() else k: v for k, v in result["correct"].items()}
    return {k: v for k, v in result.items() if k not in _OF_A_RUN} | {"correct": correct}


def _hardware(result: dict[str, Any]) -> str:
    beside = result.get("side_by_side", 1)  # what the first version did not leave
    return result["hardware"] + (f", {beside} runs side by side" if beside > 1 else "")


def _accuracy(correct: Sequence[dict[str, int]]) -> float:
    return sum(sum(one.values()) for one in correct) / sum(map(len, correct))


def _deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1), None for fewer than two values."""
    return numbers.stdev(values) if len(values) > 1 else None
