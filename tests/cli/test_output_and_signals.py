"""The reader of a tool's output may close it, and a terminal may hang up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import QUICK, ROOT, finish
from videopool.engine.checkpoints.files import read_checkpoint
from videopool.engine.cluster.stop import StopRequest

STEPS = 8  # 16 videos, 4 clips a step, 2 epochs


def arguments(videos: Path, out: Path) -> list[str]:
    return ["--config", str(ROOT / "configs/demo.yaml"), *QUICK, f"data.root={videos}", f"out={out}"]


@pytest.mark.slow
def test_output_to_a_closed_pipe(motion_videos: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)  # before the first line
    command = [sys.executable, str(ROOT / "tools/prepare.py"), "split", str(motion_videos / "train"), "--to"]
    done = subprocess.run([*command, str(tmp_path / "parts")], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
    assert list((tmp_path / "parts").iterdir())  # the work is done


@pytest.mark.slow
def test_training_continues_without_a_reader(motion_videos: Path, tmp_path: Path, process: Callable) -> None:
    running = process("train", *arguments(motion_videos, tmp_path / "run"))
    running.stdout.readline()
    running.stdout.close()
    running.stdout = None  # finish() would read it
    ended = finish(running)
    assert (ended.code, ended.err) == (0, "")
    assert read_checkpoint(tmp_path / "run/checkpoints/last.pt")["step"] == STEPS
    assert len((tmp_path / "run/log.jsonl").read_text().splitlines()) == STEPS


@pytest.mark.slow
@pytest.mark.parametrize("nohup", [False, True])
def test_terminal_that_hangs_up(motion_videos: Path, tmp_path: Path, process: Callable, nohup: bool) -> None:
    out = tmp_path / "run"
    launcher = (str(ROOT / "tests/engine/signal_at_step.py"), "5", "SIGHUP")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
    try:
        running = process("train", *arguments(motion_videos, out), launcher=launcher)
    finally:
        signal.signal(signal.SIGHUP, before)
    ended = finish(running)
    assert ended.code == (0 if nohup else 75), ended.err
    assert read_checkpoint(out / "checkpoints/last.pt")["step"] == (STEPS if nohup else 5)
    steps = [json.loads(line)["step"] for line in (out / "log.jsonl").open()]
    assert steps == list(range(1, (STEPS if nohup else 5) + 1))


def test_signal_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGUSR1)
        assert stop.requested
    assert signal.getsignal(signal.SIGUSR1) == before
