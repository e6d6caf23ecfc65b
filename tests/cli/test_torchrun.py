"""Signals to torchrun: the processes that it started stop with a checkpoint, or end with it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.engine.processes import TORCHRUN, marked, train_arguments
from videopool.engine.checkpoints.files import read_checkpoint

pytestmark = pytest.mark.long

LONG = ("train.epochs=1000", "train.evaluate_every=0", "data.workers=1")


def wait_for_training(running: subprocess.Popen[str], out: Path) -> None:
    log = out / "log.jsonl"
    while not (log.exists() and len(log.read_text().splitlines()) >= 2):
        assert running.poll() is None
        time.sleep(0.1)


# test_slurm.py sends SIGUSR1 to torchrun.
@pytest.mark.slow
def test_a_signal_to_torchrun_stops_the_run_without_restarts(motion_videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ("--max-restarts", "3", "--signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1")
    with marked() as processes:
        arguments = train_arguments(motion_videos, out, *LONG)
        running = processes.start(*TORCHRUN, *options, "tools/train.py", *arguments)
        wait_for_training(running, out)
        running.send_signal(signal.SIGTERM)
        output, errors = running.communicate(timeout=60)
        assert not processes.alive()
    assert running.returncode == 1, errors  # whatever its processes return
    step = json.loads((out / "stopped.json").read_text())["step"]
    assert f"stopped on request at step {step}" in output
    assert read_checkpoint(out / "checkpoints/last.pt")["step"] == step


@pytest.mark.slow
def test_no_process_outlives_a_killed_torchrun(motion_videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with marked() as processes:
        running = processes.start(*TORCHRUN, "tools/train.py", *train_arguments(motion_videos, out, *LONG))
        wait_for_training(running, out)
        running.kill()
        _, errors = running.communicate(timeout=60)  # returns when no process holds the pipes any more
        assert "torchrun ended on" in errors
        until = time.monotonic() + 30
        while processes.alive():
            assert time.monotonic() < until
            time.sleep(0.2)
