"""Learning rates are chosen on a validation part, and runs are recorded for other checkouts."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from videopool.compare.plan import RESULT, make_plan
from videopool.compare.rates import RatesReport, choose_rates, plan_rates, with_rates
from videopool.compare.record import read_runs, restore_runs, save_runs
from videopool.compare.supervise import finished_result, key_of
from videopool.config.comparison import load_comparison
from videopool.errors import InputError


@pytest.fixture
def rates_file(tmp_path: Path, comparison_file: Callable) -> Path:
    path = comparison_file(tmp_path)
    text = path.read_text().replace("folds: 2", "folds: 3\nrates: [1e-3, 1e-2]").replace("lr: 2e-3, ", "")
    path.write_text(text)
    return path


def results_of(plan: object, accuracy: dict[str, float]) -> dict:
    """A result of each trial, with this fraction of ten validation videos correct."""
    correct = {name: {f"v{i}": int(i < 10 * value) for i in range(10)} for name, value in accuracy.items()}
    return {(name, 0, 0): {"correct": one, "train_loss": 0.5} for name, one in correct.items()}


def test_trials_and_runs(rates_file: Path) -> None:
    plan = make_plan(load_comparison(rates_file))
    trials = plan_rates(plan)
    assert [run.name for run in trials.runs] == [
        f"{method}, lr {rate}, fold 0, seed 0" for rate in ("0.001", "0.01") for method in ("soft", "max pool")
    ]
    assert [run.config.optim.lr for run in trials.runs] == [1e-3, 1e-3, 1e-2, 1e-2]
    assert {Path(run.config.data.test).name for run in trials.runs} == {"validation.csv"}
    tested = [name for names in plan.tested for name in names]
    assert len(tested) == len(set(tested)) == 16
    assert not set(tested) & set(trials.tested[0])
    assert {plan.groups[name] for name in trials.tested[0]} == set(plan.validation.groups)
    chosen = with_rates(plan, {"soft": 1e-2, "max pool": 1e-3}, ["soft", "max pool"])
    assert {(run.method, run.config.optim.lr) for run in chosen.runs} == {("soft", 1e-2), ("max pool", 1e-3)}
    assert chosen.comparison.configs["soft"].optim.lr == 1e-2
    with pytest.raises(InputError, match="No learning rate of max pool could be trained"):
        with_rates(plan, {"soft": 1e-2}, ["soft", "max pool"])


def test_the_best_rate_is_chosen_and_of_equal_ones_the_smallest(rates_file: Path, tmp_path: Path) -> None:
    plan = make_plan(load_comparison(rates_file, ["rates=[0.1,0.01,0.001]"]))
    accuracy = {"soft, lr 0.1": 0.3, "soft, lr 0.01": 0.5, "soft, lr 0.001": 0.5, "max pool, lr 0.01": 0.4}
    results = results_of(plan, accuracy)
    assert choose_rates(plan, results) == {"soft": 0.001, "max pool": 0.01}
    RatesReport(plan).write(results, {("max pool, lr 0.1", 0, 0): "the loss is not finite"})
    page = (tmp_path / "out/rates.md").read_text()
    assert "| soft | 30.0 (0.500) | 50.0 (0.500) | 50.0 (0.500) | 0.001* |" in page
    assert "| max pool | - | 40.0 (0.500) | - | 0.01 |" in page
    assert "4 of 6 runs" in page
    assert "* max pool, lr 0.1: the loss is not finite" in page


@pytest.mark.slow
def test_a_record_restores_the_runs(compared: Path, tmp_path: Path, comparison_file: Callable) -> None:
    """Results written in one folder are those of another, and the record stays the same."""
    plan = make_plan(load_comparison(comparison_file(tmp_path)))
    record = tmp_path / "runs.jsonl"
    theirs = make_plan(load_comparison(compared.parent / "compare.yaml"))
    results = {key_of(run): finished_result(run) for run in theirs.runs}
    some = dict(list(results.items())[:3])
    save_runs(record, theirs, {key: value for key, value in results.items() if key not in some})
    save_runs(record, theirs, some)
    text = record.read_text()
    assert str(compared) not in text
    assert len(text.splitlines()) == 8
    assert len(text) < 8 * 3000
    assert restore_runs(record, plan) == 8
    again = {key_of(run): finished_result(run) for run in plan.runs}
    for key, result in results.items():
        assert {**again[key], "config": 0} == {**result, "config": 0}
    save_runs(record, plan, again)
    assert record.read_text() == text
    assert restore_runs(record, plan) == 0


@pytest.mark.slow
def test_a_record_of_other_settings_or_broken_lines_is_an_error(
    compared: Path, tmp_path: Path, comparison_file: Callable
) -> None:
    theirs = make_plan(load_comparison(compared.parent / "compare.yaml"))
    record = tmp_path / "runs.jsonl"
    run = theirs.runs[0]
    save_runs(record, theirs, {key_of(run): finished_result(run)})
    other = make_plan(load_comparison(comparison_file(tmp_path), ["optim.lr=0.5"]))
    with pytest.raises(
        InputError, match=r"runs.jsonl has soft, fold 0, seed 0 with other settings \(optim.lr was 0.002"
    ):
        restore_runs(record, other)
    row = json.loads(record.read_text())
    record.write_text(json.dumps({**row, "correct": {"bits": "0", "unscored": []}}) + "\n")
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    with pytest.raises(InputError, match="the correct videos of soft cannot be read"):
        restore_runs(record, make_plan(load_comparison(comparison_file(tmp_path))))
    record.write_text("{}\n")
    with pytest.raises(InputError, match=r"runs.jsonl:1 is not a finished run"):
        read_runs(record)
    assert read_runs(tmp_path / "none.jsonl") == {}


@pytest.mark.slow
def test_unscored_videos_stay_unscored(compared: Path, tmp_path: Path) -> None:
    theirs = make_plan(load_comparison(compared.parent / "compare.yaml"))
    run = theirs.runs[0]
    result = finished_result(run)
    left_out = next(iter(result["correct"]))
    result["correct"].pop(left_out)
    save_runs(tmp_path / "runs.jsonl", theirs, {key_of(run): result})
    assert json.loads((tmp_path / "runs.jsonl").read_text())["correct"]["unscored"] == [left_out]


@pytest.mark.slow
def test_a_comparison_with_rates_from_a_record(rates_file: Path, tmp_path: Path, tool: Callable) -> None:
    command = ("compare_pooling", "--config", rates_file, "--record", tmp_path / "runs.jsonl", "--processes", "2")
    ended = tool(*command, "seeds=[0]", "train.epochs=1")
    assert ended.code == 0, ended.err
    assert "learning rates: soft 0.0" in ended.out
    assert "Learning rates, chosen on a validation part (rates.md): soft 0.0" in (tmp_path / "out/table.md").read_text()
    rows = read_runs(tmp_path / "runs.jsonl")
    assert len(rows) == 2 * 2 + 2 * 2
    assert rows["soft, lr 0.001", 0, 0]["config"]["optim"]["lr"] == 0.001
    assert rows["soft", 1, 0]["curve"][-1][1] > 0
    results = (tmp_path / "out/results.json").read_text()
    shutil.rmtree(tmp_path / "out")
    again = tool(*command, "seeds=[0]", "train.epochs=1")
    assert again.code == 0, again.err
    assert again.out.count("4 finished runs are in") == 2
    assert again.out.count("all runs are finished") == 2
    old, new = json.loads(results), json.loads((tmp_path / "out/results.json").read_text())
    order = lambda run: (run["method"], run["fold"])  # noqa: E731
    assert sorted(new["runs"], key=order) == sorted(old["runs"], key=order)
    assert new["rates"] == old["rates"]
    assert not list((tmp_path / "out").rglob(f"*/{RESULT}.tmp*"))
