"""benchmarks/train_faults: two faults for real, and that its comparisons detect differences."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.train_faults.kinds import FAULTS, schedule
from benchmarks.train_faults.run import Line, TrainRun
from benchmarks.train_faults.training import compare_losses, largest_difference, leftovers
from tests.conftest import ROOT

pytestmark = pytest.mark.long


@pytest.mark.slow
def test_two_faults(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.train_faults", "--only", "worker", "agent"]
    ended = subprocess.run(
        [*command, "--part", "machine", "--to", tmp_path / "page.md"], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    page = (tmp_path / "page.md").read_text()
    assert "## 2 faults of 2 kinds" in page
    assert "torchrun ended on" in page  # what the processes say about the end of torchrun
    assert "1 of 2 faults ended the run" in page
    assert "(difference 0) | yes |" in page


def test_every_kind_occurs_before_one_occurs_again() -> None:
    names = schedule(2 * len(FAULTS), np.random.default_rng(3), mounted=True)
    assert {*names[: len(FAULTS)]} == {*names[len(FAULTS) :]} == {*FAULTS}
    without = schedule(2 * len(FAULTS), np.random.default_rng(3), mounted=False)
    assert {*without} == {*FAULTS} - {"full", "read-only"}


def test_steps_and_sentences_of_a_run(tmp_path: Path) -> None:
    run = TrainRun([], {}, tmp_path / "log")
    texts = (
        "training on cpu (2 processes): runs/a",
        "step 9/40  epoch 2  loss 1.0",
        "error: process 1 (a) does not respond.",
        "[rank0]: a line of torch with an error",
        "training on cpu (1 process): runs/a",
        "step 8/40  epoch 2  loss 1.1",
        "step 8  evaluation: video top-1 0.000",
        "step 9/40  epoch 2  loss 1.0",
    )
    run.lines = [Line(float(seconds), text) for seconds, text in enumerate(texts)]
    assert run.step == 9
    assert [line.step for line in run.restarted(1.5)] == [8, 9]
    assert run.restarted(4.5) == []
    assert run.last_start() == (9, 1)
    assert run.sentences(0.0) == ["error: process 1 (a) does not respond."]


def test_largest_difference() -> None:
    one = {"step": 3, "model": {"a": torch.tensor([1.0, 2.0])}, "list": [torch.tensor(1)]}
    same = {"step": 3, "model": {"a": torch.tensor([1.0, 2.0])}, "list": [torch.tensor(1)]}
    assert largest_difference(one, same) == 0
    same["model"]["a"][1] += 0.25
    assert largest_difference(one, same) == 0.25
    for other in ({**one, "step": 4}, {"step": 3}, {**one, "list": []}, {**one, "model": {"a": torch.zeros(3)}}):
        assert largest_difference(one, other) == math.inf


def test_losses_and_leftovers(tmp_path: Path) -> None:
    for name, loss in (("one", 1.0), ("other", 1.5)):
        (tmp_path / name).mkdir()
        lines = '{"step": 1, "loss": 2.0, "grad_norm": 1.0}\n' + f'{{"step": 2, "loss": {loss}, "grad_norm": 1.0}}\n'
        (tmp_path / name / "log.jsonl").write_text(lines)
    assert compare_losses(tmp_path / "one", tmp_path / "other") == (2, 1)
    assert leftovers(tmp_path / "one") == []
    (tmp_path / "one" / "last.pt.tmp-12").touch()
    assert leftovers(tmp_path / "one") == ["last.pt.tmp-12"]
