"""tools/compare_pooling.py: what it leaves, going on after a kill, failing methods, refusals."""

import csv
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import finish
from videopool.compare import supervise

# Figures of a run that do not depend on the machine's speed.
SAME = ("train_loss", "video_top1", "clip_top1", "correct", "information_kept", "initial_weights", "test_videos")


def runs(out: Path) -> dict[tuple, dict]:
    found = [json.loads(path.read_text()) for path in sorted(out.glob("runs/*/*/run.json"))]
    return {(run["method"], run["fold"], run["seed"]): {name: run[name] for name in SAME} for run in found}


def test_what_it_leaves(compared: Path) -> None:
    results = json.loads((compared / "results.json").read_text())
    assert results["runs_done"] == results["runs_planned"] == len(results["runs"]) == 8
    assert results["same_initial_weights"] is True
    assert results["chance"] == 1 / 8
    for name in ("table.md", "table.csv", "figure.png", "figure.svg"):
        assert (compared / name).stat().st_size > 200
    run = compared / "runs/max-pool/fold1-seed0"
    assert {"config.yaml", "log.jsonl", "run.json", "output.txt"} <= {path.name for path in run.iterdir()}
    assert (run / "evaluation/metrics.json").exists()
    assert not (run / "checkpoints").exists()


def test_figures_of_a_method_come_from_its_runs(compared: Path) -> None:
    mine = [result for (method, _, _), result in runs(compared).items() if method == "max pool"]
    correct = [value for run in mine for value in run["correct"].values()]
    assert len(correct) == 2 * 24  # every video once for each seed
    with (compared / "table.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["method"] == "max pool")
    assert float(row["video_top1"]) == pytest.approx(sum(correct) / 48)
    assert float(row["clip_top1"]) == pytest.approx(sum(run["clip_top1"] for run in mine) / 4)
    assert row["difference_pairs"] == "4"
    assert int(row["peak_memory"]) > 50e6
    assert float(row["train_seconds"]) == pytest.approx(4 * float(row["step_seconds"]), rel=5)
    page = (compared / "table.md").read_text()
    assert f"| max pool | {100 * sum(correct) / 48:.1f} |" in page
    assert "24 test videos of 8 classes, 2 folds by person, seeds 0, 1: 8 of 8 runs" in page
    assert "With 4 pairs of runs" in page  # cannot be significant, and says so


def test_seed_alone_decides_the_initial_weights(compared: Path) -> None:
    hashes = {key: result["initial_weights"] for key, result in runs(compared).items()}
    assert len(set(hashes.values())) == 2
    assert all(value == hashes["soft", 0, seed] for (_, _, seed), value in hashes.items())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stop request", "kill -9"])
def test_goes_on_where_it_was(
    how: signal.Signals, compared: Path, tmp_path: Path, comparison_file: Callable, process: Callable, tool: Callable
) -> None:
    path, out = comparison_file(tmp_path), tmp_path / "out"
    running = process("compare_pooling", "--config", path, "--seeds", "1")
    second = out / "runs/max-pool/fold0-seed1/log.jsonl"  # the second run has begun to train
    while not (second.exists() and second.read_text()):
        assert running.poll() is None
        time.sleep(0.02)
    os.kill(running.pid, how)
    assert finish(running).code == (75 if how == signal.SIGTERM else -9)
    first = (out / "runs/soft/fold0-seed1/run.json").stat().st_mtime_ns
    again = tool("compare_pooling", "--config", path, "--seeds", "1", "--processes", "2")
    assert again.code == 0, again.err
    assert (out / "runs/soft/fold0-seed1/run.json").stat().st_mtime_ns == first  # not repeated
    assert runs(out) == {key: result for key, result in runs(compared).items() if key[2] == 1}


def test_finished_is_not_repeated_and_other_settings_are_refused(
    compared: Path, comparison_file: Callable, tool: Callable
) -> None:
    path = compared.parent / "compare.yaml"
    before = runs(compared)
    ended = tool("compare_pooling", "--config", path)
    assert ended.code == 0
    assert "every run is finished" in ended.out
    assert runs(compared) == before
    ended = tool("compare_pooling", "--config", path, "optim.lr=0.5", "evaluate.clips=1")
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "optim.lr: 0.002 then, 0.5 now; evaluate.clips: 2 then, 1 now" in ended.err


def test_failing_method_is_named_and_the_others_go_on(
    tmp_path: Path, comparison_file: Callable, tool: Callable
) -> None:
    path = comparison_file(tmp_path)
    path.write_text(path.read_text() + "  wrong: {pooling: avg, pooling_arguments: {p: 3}}\n")
    ended = tool("compare_pooling", "--config", path, "--seeds", "4", "--processes", "2", "--methods", "wrong,soft")
    assert ended.code == 1
    assert "wrong, fold 0, seed 4 failed: pooling 'avg' has no argument 'p'" in ended.out
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert (results["runs_done"], results["runs_planned"]) == (2, 6)
    assert [(one["method"], one["fold"]) for one in results["failures"]] == [("wrong", 0), ("wrong", 1)]
    page = (tmp_path / "out/table.md").read_text()
    assert "Unfinished: 2 of 6 runs" in page
    assert "2 runs failed and are in no figure (wrong)" in page


def test_two_comparisons_in_one_folder_are_refused(tmp_path: Path, comparison_file: Callable, tool: Callable) -> None:
    with supervise.locked(tmp_path / "out"):
        ended = tool("compare_pooling", "--config", comparison_file(tmp_path))
    assert ended.code == 2
    assert "another comparison works in" in ended.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--methods", "soft,softt"], "--methods: 'softt' is not among those of the file: soft, max pool"),
        (["--seeds", "0,x"], "seeds"),
        (["group=subject"], "no column 'subject'"),
        (["folds=9"], "9 folds of 3 groups; give folds=3 or less"),
        (["data.root=/no/such/folder"], "/no/such/folder"),
    ],
)
def test_bad_input(arguments: list[str], expected: str, tmp_path: Path, comparison_file: Callable, tool: Callable):
    ended = tool("compare_pooling", "--config", comparison_file(tmp_path), *arguments)
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert expected in ended.err
    assert not (tmp_path / "out/runs").exists()
