"""Do a whole comparison: choose the learning rates, if it has any to choose from, then train and test the methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from videopool.compare.plan import ComparisonPlan, make_plan
from videopool.compare.rates import RatesReport, choose_rates, plan_rates, trials_of, with_rates
from videopool.compare.record import restore_runs, save_runs
from videopool.compare.results import Report
from videopool.compare.supervise import Failures, Results, Supervisor, lock_folder
from videopool.config.comparison import Comparison

Write = Callable[[Results, Failures], None]


def compare(
    comparison: Comparison,
    methods: Sequence[str],
    processes: int,
    record: Path | None,
    command: str,
    say: Callable[[str], None],
) -> tuple[Report, Failures] | None:
    """Do what is left of ``comparison``, and return its report and the failed runs; None if it was stopped.

    Args:
        comparison: the comparison.
        methods: those to run now.
        processes: runs at a time.
        record: the file of finished runs to continue from and to add to.
        command: the command line, which the results quote.
        say: prints a line for the user.

    Raises:
        InputError: as ``make_plan`` and ``Supervisor`` do; also if no rate of a method could be trained.
    """
    with lock_folder(Path(comparison.out)):  # the lists of the folds are written there too
        plan, rates = make_plan(comparison), {}
        if comparison.rates:
            trials = plan_rates(plan)
            names = [name for method in methods for name in trials_of(comparison, method)]
            supervisor = _supervisor(trials, names, processes, record, RatesReport(plan).write, say)
            if not supervisor.run():
                return None
            rates = choose_rates(plan, supervisor.results)
            say("learning rates: " + ", ".join(f"{method} {rate:g}" for method, rate in rates.items()))
            plan = with_rates(plan, rates, methods)
        report = Report(plan, command, rates)
        supervisor = _supervisor(plan, methods, processes, record, report.write, say)
        return (report, supervisor.failures) if supervisor.run() else None


def _supervisor(
    plan: ComparisonPlan,
    methods: Sequence[str],
    processes: int,
    record: Path | None,
    write: Write,
    say: Callable[[str], None],
) -> Supervisor:
    """Return the supervisor of ``plan``, with the runs of ``record`` restored and its own added after each run."""

    def write_all(results: Results, failures: Failures) -> None:
        write(results, failures)
        if record:
            save_runs(record, plan, results)

    if record:
        restored = restore_runs(record, plan)
        if restored:
            say(f"{restored} finished runs are in {record}")
    return Supervisor(plan, methods=methods, processes=processes, write=write_all, say=say)
