"""``videopool compare``: its files, resuming after a kill, failing methods, wrong input."""

import csv
import errno
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from videopool.compare import supervise
from videopool.compare.plan import make_plan
from videopool.config.comparison import load_comparison

pytestmark = pytest.mark.slow  # trains

# What does not depend on the speed of the machine.
SAME = ("train_loss", "video_top1", "clip_top1", "correct", "information_kept", "initial_weights", "lists")


def runs(out: Path) -> dict[tuple, dict]:
    found = [json.loads(path.read_text()) for path in sorted(out.glob("runs/*/*/run.json"))]
    return {(run["method"], run["fold"], run["seed"]): {name: run[name] for name in SAME} for run in found}


@pytest.mark.slow
def test_files(compared: Path) -> None:
    results = json.loads((compared / "results.json").read_text())
    assert results["runs_done"] == results["runs_planned"] == len(results["runs"]) == 8
    assert results["same_initial_weights"] is True
    assert results["chance"] == 1 / 8
    assert results["folds"][0]["train"] == "folds/fold0-train.csv"
    assert results["config"]["optim"]["lr"] == 0.002
    for name in ("results.json", "table.md", "table.csv", "figure.svg"):
        assert str(compared.parent) not in (compared / name).read_text(), name  # no path of this machine
    for name in ("table.md", "table.csv", "figure.png", "figure.svg"):
        assert (compared / name).stat().st_size > 200
    run = compared / "runs/max-pool/fold1-seed0"
    assert {"config.yaml", "log.jsonl", "run.json", "output.txt"} <= {path.name for path in run.iterdir()}
    metrics = json.loads((run / "evaluation/metrics.json").read_text())
    assert metrics["weights"] == "raw"
    low, high = metrics["intervals"]["video_top1"]
    assert low <= metrics["video_top1"] <= high
    assert not (run / "checkpoints").exists()


@pytest.mark.slow
def test_figures_of_a_method_come_from_its_runs(compared: Path) -> None:
    mine = [result for (method, _, _), result in runs(compared).items() if method == "max pool"]
    correct = [value for run in mine for value in run["correct"].values()]
    assert len(correct) == 2 * 24  # every video once for each seed
    with (compared / "table.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["method"] == "max pool")
    assert float(row["video_top1"]) == pytest.approx(sum(correct) / 48)
    clips = sum(run["clip_top1"] * len(run["correct"]) for run in mine) / 48  # folds of 16 and 8 videos
    assert float(row["clip_top1"]) == pytest.approx(clips)
    assert row["difference_pairs"] == "4"
    assert int(row["peak_memory"]) > 50e6
    assert float(row["train_seconds"]) == pytest.approx(4 * float(row["step_seconds"]), rel=5)
    page = (compared / "table.md").read_text()
    assert f"| max pool | {100 * sum(correct) / 48:.1f} |" in page
    assert "24 test videos of 8 classes, 2 folds by person, seeds 0, 1: 8 of 8 runs" in page
    assert "With 4 pairs of runs" in page  # cannot be significant


@pytest.mark.slow
def test_only_the_seed_decides_the_initial_weights(compared: Path) -> None:
    hashes = {key: result["initial_weights"] for key, result in runs(compared).items()}
    assert len(set(hashes.values())) == 2
    assert all(value == hashes["soft", 0, seed] for (_, _, seed), value in hashes.items())


def wait_for(log: Path) -> None:
    """Wait until a run has started to train."""
    end = time.monotonic() + 180
    while not (log.exists() and log.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)


def interrupt_after(log: Path) -> None:
    wait_for(log)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_resumes(compared: Path, tmp_path: Path, comparison_file: Callable, process: Callable, tool: Callable) -> None:
    """Kill it, ask it to stop, and finish it: the figures equal those of an undisturbed comparison."""
    path, out = comparison_file(tmp_path), tmp_path / "out"
    running = process("compare_pooling", "--config", path, "--seeds", "1")
    wait_for(out / "runs/max-pool/fold0-seed1/log.jsonl")  # the second run
    running.kill()
    running.wait()
    first = (out / "runs/soft/fold0-seed1/run.json").stat().st_mtime_ns
    threading.Thread(target=interrupt_after, args=(out / "runs/soft/fold1-seed1/log.jsonl",), daemon=True).start()
    again = ("compare_pooling", "--config", path, "--seeds", "1", "--processes", "2")  # one thread each
    stopped = tool(*again)
    assert stopped.code == 75
    assert "run the same command again to resume" in stopped.out
    assert json.loads((out / "results.json").read_text())["failures"] == []
    ended = tool(*again)
    assert ended.code == 0, ended.err
    assert (out / "runs/soft/fold0-seed1/run.json").stat().st_mtime_ns == first  # not repeated
    assert runs(out) == {key: result for key, result in runs(compared).items() if key[2] == 1}
    assert not list(out.rglob("*.tmp-*"))


@pytest.mark.slow
def test_finished_runs_are_not_repeated_and_other_settings_are_refused(
    compared: Path, comparison_file: Callable, tool: Callable
) -> None:
    path = compared.parent / "compare.yaml"
    before = runs(compared)
    ended = tool("compare_pooling", "--config", path)
    assert ended.code == 0
    assert "all runs are finished" in ended.out
    assert runs(compared) == before
    ended = tool("compare_pooling", "--config", path, "optim.lr=0.5", "evaluate.clips=1")
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "optim.lr was 0.002, now 0.5; evaluate.clips was 2, now 1" in ended.err


def test_a_failing_method_is_named_and_the_others_continue(
    tmp_path: Path, comparison_file: Callable, tool: Callable
) -> None:
    path, out = comparison_file(tmp_path), tmp_path / "out"
    path.write_text(path.read_text() + "  wrong: {pooling: avg}\n")
    for fold in (0, 1):
        (out / f"runs/wrong/fold{fold}-seed4").mkdir(parents=True)
        (out / f"runs/wrong/fold{fold}-seed4/checkpoints").write_text("in the place of the folder")
    ended = tool("compare_pooling", "--config", path, "--seeds", "4", "--processes", "2", "--methods", "wrong,soft")
    assert ended.code == 1
    assert "wrong, fold 0, seed 4 failed: " in ended.out
    results = json.loads((out / "results.json").read_text())
    assert (results["runs_done"], results["runs_planned"]) == (2, 6)
    assert [(one["method"], one["fold"]) for one in results["failures"]] == [("wrong", 0), ("wrong", 1)]
    page = (out / "table.md").read_text()
    assert "Unfinished: 2 of 6 runs" in page
    assert "2 runs failed and are not in the figures (wrong)" in page
    assert str(tmp_path) not in page + json.dumps(results)


def test_a_network_that_cannot_be_built_is_reported_before_the_first_run(
    tmp_path: Path, comparison_file: Callable, tool: Callable
) -> None:
    path = comparison_file(tmp_path)
    path.write_text(path.read_text() + "  wrong: {pooling: avg, pooling_arguments: {p: 3}}\n")
    ended = tool("compare_pooling", "--config", path)
    assert ended.code == 2
    assert ended.err.startswith("error: methods.wrong: Pooling method 'avg' has no argument 'p'")
    assert not (tmp_path / "out/runs").exists()


@pytest.mark.slow
def test_two_comparisons_in_one_folder_are_refused(
    compared: Path, tmp_path: Path, comparison_file: Callable, tool: Callable
) -> None:
    path, out = comparison_file(tmp_path), tmp_path / "out"
    with supervise.lock_folder(out):
        shutil.copytree(compared / "folds", out / "folds")
        ended = tool("compare_pooling", "--config", path, "folds=3")
    assert ended.code == 2
    assert "Another comparison is running in" in ended.err
    lists = [(folder / "folds/fold0-train.csv").read_text() for folder in (compared, out)]
    assert lists[0] == lists[1]  # the other one is training with these


@pytest.mark.slow
def test_other_lists_are_refused_for_finished_and_unfinished_runs(
    compared: Path, people: Path, tmp_path: Path, comparison_file: Callable, tool: Callable
) -> None:
    """Otherwise a network could be tested on videos that it was trained on before it was killed."""
    path, out = comparison_file(tmp_path), tmp_path / "out"
    shutil.copytree(compared / "runs/soft/fold0-seed0", out / "runs/soft/fold0-seed0")
    relabeled = tmp_path / "people"
    shutil.copytree(people, relabeled)
    table = (people / "all.csv").read_text()
    (relabeled / "all.csv").write_text(table.replace("grow_ann.mp4,grow", "grow_ann.mp4,shrink"))
    ended = tool("compare_pooling", "--config", path, f"data.root={relabeled}")
    assert ended.code == 2
    assert "has a finished run with other settings (the lists have other videos or classes)" in ended.err
    (out / "runs/soft/fold0-seed0/run.json").unlink()
    (out / "runs/soft/fold0-seed0/checkpoints").mkdir()
    (out / "runs/soft/fold0-seed0/checkpoints/last.pt").write_text("of a stopped run")
    ended = tool("compare_pooling", "--config", path, "folds=3")
    assert ended.code == 2
    assert "has an unfinished run with other settings (the lists have other videos or classes)" in ended.err


@pytest.mark.slow
def test_a_full_disk_is_reported_and_the_runs_continue(
    compared: Path, tmp_path: Path, comparison_file: Callable, tool: Callable
) -> None:
    plan = make_plan(load_comparison(comparison_file(tmp_path)))
    shutil.copytree(compared / "runs", tmp_path / "out/runs")
    for number in (0, 1):
        shutil.rmtree(tmp_path / f"out/runs/soft/fold{number}-seed0")
    printed, calls = [], []

    def full(*results: object) -> None:
        calls.append(results)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device", "table.md")

    supervisor = supervise.Supervisor(plan, methods=["soft"], processes=2, write=full, say=printed.append)
    with pytest.raises(OSError, match="No space left"):
        supervisor.run()
    assert len(supervisor.results) == 8
    assert sum("could not write the tables" in text for text in printed) == 2


@pytest.mark.slow
def test_runs_share_the_gpus(
    compared: Path, tmp_path: Path, comparison_file: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    plan = make_plan(load_comparison(comparison_file(tmp_path)))
    supervisor = supervise.Supervisor(plan, methods=["soft"], processes=4, write=lambda *_: None, say=print)
    taken: list[int] = []

    class Process:
        def __init__(self, target: object, args: tuple) -> None:
            taken.append(args[3])

        def start(self) -> None:
            pass

    monkeypatch.setattr(supervisor._context, "Process", Process, raising=False)
    for run in supervisor._waiting[:3]:
        supervisor._start(run)
    supervisor._running.pop(1)
    supervisor._start(supervisor._waiting[3])
    assert taken == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--methods", "soft,softt"], "--methods: unknown method 'softt'; choose from soft, max pool"),
        (["--seeds", "0,x"], "--seeds: expected whole numbers such as 0,1,2, got 0,x"),
        (["group=subject"], "no column 'subject'"),
        (["folds=9"], "folds=9 must not exceed the number of groups, which is 3"),
        (["data.root=/no/such/folder"], "/no/such/folder"),
        (["model.pooling=max"], "override 'model.pooling=max': the comparison sets model.pooling for each run; change"),
        (["data.train=x"], "the comparison sets data.train for each run; give videos="),
        (["model.name=x4d"], "methods.soft: Unknown model 'x4d'. Did you mean 'x3d'?"),
        (["train.device=cuda"], "train.device=cuda"),
    ],
)
def test_bad_input(arguments: list[str], expected: str, tmp_path: Path, comparison_file: Callable, tool: Callable):
    ended = tool("compare_pooling", "--config", comparison_file(tmp_path), *arguments)
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert expected in ended.err
    assert not (tmp_path / "out/runs").exists()
