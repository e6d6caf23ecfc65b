"""Choose the learning rate of each method on a validation part, before the comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from videopool.compare.plan import ComparisonPlan, plan_of
from videopool.compare.supervise import Failures, Results
from videopool.config import Config
from videopool.config.comparison import Comparison
from videopool.errors import InputError
from videopool.files import strip_local_paths, write_text
from videopool.report.tables import markdown

FOLDER = "rates"  # in the folder of the comparison


@dataclasses.dataclass(frozen=True)
class Trial:
    """A method with a learning rate, and its results: fractions of validation videos, and the mean training loss."""

    method: str
    rate: float
    accuracy: float
    train_loss: float


def plan_rates(plan: ComparisonPlan) -> ComparisonPlan:
    """Return the plan of one run for each method and rate, tested on the validation part, with the first seed."""
    assert plan.validation is not None
    comparison = plan.comparison
    pairs = [(method, rate) for rate in comparison.rates for method in comparison.methods]
    trials = dataclasses.replace(
        comparison,
        out=str(Path(comparison.out) / FOLDER),
        methods={_name(method, rate): comparison.methods[method] for method, rate in pairs},
        configs={_name(method, rate): _with_rate(comparison.configs[method], rate) for method, rate in pairs},
        seeds=comparison.seeds[:1],
        reference="",
        rates=(),
        validation="",
    )
    return plan_of(trials, plan.root, (plan.validation,))


def trials_of(comparison: Comparison, method: str) -> list[str]:
    """Return the names of the runs of ``method`` in ``plan_rates``."""
    return [_name(method, rate) for rate in comparison.rates]


def choose_rates(plan: ComparisonPlan, results: Results) -> dict[str, float]:
    """Return the rate with the best validation accuracy of each method with results; of equal ones, the smallest."""
    best: dict[str, Trial] = {}
    for trial in _trials(plan, results):
        known = best.get(trial.method)
        if known is None or (trial.accuracy, -trial.rate) > (known.accuracy, -known.rate):
            best[trial.method] = trial
    return {method: best[method].rate for method in plan.comparison.methods if method in best}


def with_rates(plan: ComparisonPlan, rates: Mapping[str, float], methods: Sequence[str]) -> ComparisonPlan:
    """Return ``plan`` with the rate of each method.

    Raises:
        InputError: if one of ``methods``, which are to run, has no rate, because all its trials failed.
    """
    without = [method for method in methods if method not in rates]
    if without:
        folder = Path(plan.comparison.out) / FOLDER
        raise InputError(f"No learning rate of {', '.join(without)} could be trained; see output.txt in {folder}/runs.")
    changed = {name: _with_rate(c, rates.get(name, c.optim.lr)) for name, c in plan.comparison.configs.items()}
    runs = (
        dataclasses.replace(run, config=_with_rate(run.config, rates.get(run.method, run.config.optim.lr)))
        for run in plan.runs
    )
    return dataclasses.replace(plan, comparison=dataclasses.replace(plan.comparison, configs=changed), runs=tuple(runs))


class RatesReport:
    """Writes ``rates.md``, the validation accuracy of each method with each rate."""

    def __init__(self, plan: ComparisonPlan) -> None:
        self.plan = plan

    def write(self, results: Results, failures: Failures) -> None:
        """Write the table for the runs finished so far."""
        out = Path(self.plan.comparison.out)
        chosen = choose_rates(self.plan, results)
        trials = {(one.method, one.rate): one for one in _trials(self.plan, results)}
        rows = [_row(method, self.plan, trials, chosen) for method in self.plan.comparison.methods]
        failed = [f"* {method}: {why}" for (method, _, _), why in failures.items()]
        parts = [
            "# Learning rates",
            _about(self.plan, len(trials)),
            markdown(rows, ("method", *map(_column, self.plan.comparison.rates), "chosen")),
            *(["## Runs that failed", "\n".join(failed)] if failed else []),
        ]
        write_text(out / "rates.md", strip_local_paths("\n\n".join(parts) + "\n", out))


def _about(plan: ComparisonPlan, done: int) -> str:
    comparison = plan.comparison
    planned = len(comparison.methods) * len(comparison.rates)
    part = "the validation part, which is neither trained on nor tested" if comparison.videos else "the validation list"
    return (
        f"Accuracy in % on {part}, and the training loss; seed {comparison.seeds[0]}; {done} of {planned} runs. The "
        "rate with the highest accuracy is chosen. A rate at the end of the grid is marked with *: a wider grid might "
        "have a better one."
    )


def _row(
    method: str, plan: ComparisonPlan, trials: Mapping[tuple[str, float], Trial], chosen: Mapping[str, float]
) -> dict[str, object]:
    rates = plan.comparison.rates
    cells = {_column(rate): _cell(trials.get((method, rate))) for rate in rates}
    rate = chosen.get(method)
    mark = "*" if rate in (min(rates), max(rates)) else ""
    return {"method": method, **cells, "chosen": None if rate is None else f"{rate:g}{mark}"}


def _cell(trial: Trial | None) -> str | None:
    return None if trial is None else f"{100 * trial.accuracy:.1f} ({trial.train_loss:.3f})"


def _trials(plan: ComparisonPlan, results: Results) -> list[Trial]:
    pairs = {_name(m, rate): (m, rate) for m in plan.comparison.methods for rate in plan.comparison.rates}
    return [
        Trial(*pairs[name], sum(result["correct"].values()) / len(result["correct"]), result["train_loss"])
        for (name, _, _), result in results.items()
    ]


def _column(rate: float) -> str:
    return f"lr {rate:g}"


def _name(method: str, rate: float) -> str:
    return f"{method}, lr {rate:g}"


def _with_rate(config: Config, rate: float) -> Config:
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=rate))
