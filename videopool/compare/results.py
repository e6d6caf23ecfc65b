"""From finished runs to figures for each method, and the files of a comparison."""

from __future__ import annotations

import dataclasses
import statistics as numbers
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videopool.compare import statistics
from videopool.compare.figure import draw
from videopool.compare.plan import Plan
from videopool.compare.statistics import Difference
from videopool.compare.supervise import Failures, Results
from videopool.compare.table import Words, conclusion, page
from videopool.report.tables import csv_text, json_text, write_text


@dataclasses.dataclass(frozen=True)
class MethodResult:
    """The figures of one method over its finished runs; accuracies are fractions, times seconds, memory bytes.

    ``by_seed``: accuracy over the test videos of all folds, for each seed that has finished all of them; since folds
    part the videos, this is one accuracy over all videos, and ``video_top1_sd`` its standard deviation. The mean
    weighs every tested video of every run alike. ``video_top1_sd_runs`` is that of single runs (fold, seed).
    """

    method: str
    runs: int
    failed: int
    video_top1: float
    video_top1_sd: float | None
    video_top1_sd_runs: float | None
    clip_top1: float
    mean_class_accuracy: float
    train_loss: float
    train_seconds: float | None
    step_seconds: float | None
    peak_memory: float
    memory_before: float
    parameters: int
    pooling_parameters: int
    information_kept: float | None
    by_seed: dict[int, float]
    against: Difference | None

    def row(self) -> dict[str, object]:
        """The figures as plain values, a difference's with ``difference_`` before their names."""
        plain = {k: v for k, v in dataclasses.asdict(self).items() if k not in ("by_seed", "against")}
        found = dataclasses.asdict(self.against) if self.against else {}
        return {**plain, **{f"difference_{name}": value for name, value in found.items()}}


class Report:
    """Writes results.json, table.csv, table.md and figure.png/.svg into the folder of the comparison."""

    def __init__(self, plan: Plan, command: str) -> None:
        self.plan, self.command = plan, command
        self.conclusion = ""

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
            "folds": [dataclasses.asdict(fold) for fold in self.plan.folds],
            "methods": [{**one.row(), "by_seed": one.by_seed} for one in methods],
            "failures": [{"method": m, "fold": f, "seed": s, "reason": why} for (m, f, s), why in failures.items()],
            "runs": list(results.values()),
        }
        write_text(out / "results.json", json_text(content))
        write_text(out / "table.csv", csv_text([one.row() for one in methods]))
        write_text(out / "table.md", page(methods, words))
        if methods:
            draw(out / "figure.png", methods, words)

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
            hardware=sorted({result["hardware"] for result in results.values()}),
            done=len(results),
            planned=len(self.plan.runs),
            same_weights=same_initial_weights(results),
            failures={f"{m}, fold {f}, seed {s}": why for (m, f, s), why in failures.items()},
        )


def summarize(plan: Plan, results: Results, failures: Failures) -> list[MethodResult]:
    """Figures of every method with a finished run, in the order of the file."""
    outcomes: dict[str, dict[tuple[int, int], dict[str, int]]] = defaultdict(dict)
    for (method, fold, seed), result in results.items():
        outcomes[method][fold, seed] = result["correct"]
    reference = plan.comparison.against
    tested = statistics.compare(outcomes, reference) if reference in outcomes else {}
    return [
        _method(name, plan, [r for (m, _, _), r in results.items() if m == name], failures, tested.get(name))
        for name in plan.comparison.methods
        if name in outcomes
    ]


def same_initial_weights(results: Results) -> bool:
    """Whether all methods began with the same weights, those of pooling layers aside, in every fold and seed."""
    begun: dict[tuple[int, int], set[str]] = defaultdict(set)
    for (_, fold, seed), result in results.items():
        begun[fold, seed].add(result["initial_weights"])
    return all(len(hashes) == 1 for hashes in begun.values())


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
        video_top1=_accuracy([run["correct"] for run in runs]),
        video_top1_sd=_deviation(list(by_seed.values())),
        video_top1_sd_runs=_deviation([run["video_top1"] for run in runs]),
        clip_top1=mean("clip_top1"),
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


def _accuracy(correct: Sequence[dict[str, int]]) -> float:
    return sum(sum(one.values()) for one in correct) / sum(map(len, correct))


def _deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1), None for fewer than two values."""
    return numbers.stdev(values) if len(values) > 1 else None
