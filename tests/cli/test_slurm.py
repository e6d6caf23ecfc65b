"""tools/slurm/train.sbatch under a stub of SLURM: stopped before its time limit, requeued, and trained to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT, ToolResult, same_tensors
from tests.engine.processes import Marked, marked, train_arguments
from videopool.engine.checkpoints.files import read_checkpoint

pytestmark = pytest.mark.long

SCRIPT = ROOT / "tools/slurm/train.sbatch"
STEPS = 48  # 16 videos, 4 clips a step, 12 epochs


def submit(processes: Marked, folder: Path, *arguments: str, **environment: str) -> ToolResult:
    """Run ``sbatch train.sbatch ARGUMENTS`` with the stub programs."""
    folder.mkdir()
    for name in ("sbatch", "srun", "scontrol"):
        program = folder / name
        program.write_text(f'#!/bin/bash\nexec {sys.executable} {ROOT}/tests/cli/slurm_stub.py {name} "$@"\n')
        program.chmod(0o755)
    given = {
        **processes.environment,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "STUB_FOLDER": str(folder),
        "PYTHON": sys.executable,
        **environment,
    }
    command = [str(folder / "sbatch"), str(SCRIPT), *arguments]
    ended = subprocess.run(command, env=given, capture_output=True, text=True, timeout=110, cwd=ROOT)
    return ToolResult(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture(scope="module")
def uninterrupted(motion_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of a run of two processes that is not stopped."""
    out = tmp_path_factory.mktemp("slurm") / "run"
    arguments = train_arguments(motion_videos, out, "train.epochs=12", "train.evaluate_every=0", "data.workers=0")
    with marked() as processes:
        ended = submit(processes, out.parent / "stub", *arguments)
    assert ended.code == 0, ended.err
    assert not (out / "stopped.json").exists()
    return read_checkpoint(out / "checkpoints/last.pt")["model"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["srun", "torchrun"])
def test_stopped_requeued_and_finished(
    motion_videos: Path, tmp_path: Path, launcher: str, uninterrupted: dict[str, torch.Tensor]
) -> None:
    out = tmp_path / "run"
    arguments = train_arguments(motion_videos, out, "train.epochs=12", "train.evaluate_every=0", "data.workers=0")
    with marked() as processes:
        ended = submit(
            processes,
            tmp_path / "stub",
            *arguments,
            LAUNCHER=launcher,
            STUB_SIGNAL_AFTER="3",
            STUB_LOG=str(out / "log.jsonl"),
        )
        assert not processes.alive()
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    (stopped,) = [line for line in lines if line.startswith("stopped on request at step")]
    step = int(stopped.split()[5].rstrip(";"))
    assert f"resuming from step {step} of {STEPS}" in lines
    # The batch script ends with the code of scontrol after a requeue.
    assert [line for line in lines if line.startswith("job ended")] == ["job ended with 0"] * 2
    assert [json.loads(line)["step"] for line in (out / "log.jsonl").open()] == list(range(1, STEPS + 1))
    checkpoint = read_checkpoint(out / "checkpoints/last.pt")
    assert checkpoint["step"] == STEPS
    assert same_tensors(checkpoint["model"], uninterrupted)
    assert not (out / "stopped.json").exists()


@pytest.mark.slow
def test_a_cancelled_job_is_not_requeued(motion_videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = train_arguments(motion_videos, out, "train.epochs=12", "train.evaluate_every=0", "data.workers=0")
    given = {"STUB_SIGNAL_AFTER": "3", "STUB_LOG": str(out / "log.jsonl"), "STUB_CANCEL": "1"}
    with marked() as processes:
        ended = submit(processes, tmp_path / "stub", *arguments, **given)
        assert not processes.alive()
    assert ended.code == 75
    assert [line for line in ended.out.splitlines() if line.startswith("job ended")] == ["job ended with 75"]
    assert (out / "stopped.json").exists()


@pytest.mark.slow
def test_a_wrong_setting_is_not_requeued(motion_videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "stopped.json").write_text('{"step": 8, "time": 1.0}\n')  # of an earlier stop
    os.utime(out / "stopped.json", (2**32, 2**32))  # the clock of the file server is ahead
    with marked() as processes:
        ended = submit(processes, tmp_path / "stub", *train_arguments(motion_videos, out, "optim.lr=-1"))
        assert not processes.alive()
    assert ended.code == 2
    assert ended.out.splitlines() == ["job ended with 2"]
    assert "optim.lr=-1" in ended.err


def test_out_must_be_given(tmp_path: Path) -> None:
    with marked() as processes:
        ended = submit(processes, tmp_path / "stub", "--config", "demo")
    assert ended.code == 2
    assert ended.err == "error: out is missing. Give out=FOLDER, a folder that all nodes see.\n"
