"""A run that is stopped or killed resumes bit for bit."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import QUICK, ROOT, ToolResult, finish, same_tensors
from videopool.engine.checkpoints.files import read_checkpoint
from videopool.engine.trainer import Trainer

STEPS = 8  # 16 videos, 4 clips a step, 2 epochs


def arguments(videos: Path, out: Path) -> list[str]:
    overrides = [*QUICK, f"data.root={videos}", f"out={out}", "train.save_every=3"]
    return ["--config", str(ROOT / "configs/demo.yaml"), *overrides]


@pytest.fixture(scope="module")
def straight(motion_videos: Path, trained: Path) -> dict:
    return read_checkpoint(trained / "checkpoints/last.pt")


def wait_for_step(running: subprocess.Popen, out: Path, step: int) -> None:
    """Wait until the log has a line of ``step``."""
    while running.poll() is None:
        log = out / "log.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        if any(f'"step": {step},' in line for line in lines):
            return
        time.sleep(0.05)
    raise AssertionError(f"training ended before step {step}: {finish(running)}")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "stop request"])
def test_interrupted_run_equals_an_uninterrupted_one(
    how: signal.Signals, motion_videos: Path, straight: dict, tmp_path: Path, process: Callable
) -> None:
    out = tmp_path / "run"
    launcher = (str(ROOT / "tests/engine/signal_at_step.py"), "5", how.name)
    ended = finish(process("train", *arguments(motion_videos, out), launcher=launcher))
    assert ended.code == (-signal.SIGKILL if how == signal.SIGKILL else 75), ended.err
    left_at = read_checkpoint(out / "checkpoints/last.pt")["step"]
    assert left_at in ((3, 4) if how == signal.SIGKILL else (5,))  # step 4, the best, may still have been in writing
    again = finish(process("train", *arguments(motion_videos, out), "resume=auto"))
    assert again.code == 0, again.err
    resumed = read_checkpoint(out / "checkpoints/last.pt")
    assert resumed["step"] == STEPS
    for part in ("model", "optimizer", "best"):
        assert same_tensors(resumed[part], straight[part]), part
    steps = [line["step"] for line in map(json.loads, (out / "log.jsonl").open())]
    assert steps == list(range(1, STEPS + 1))  # each step once


def test_resumed_run_makes_up_for_a_missed_validation(
    motion_videos: Path, straight: dict, tmp_path: Path, tool: Callable
) -> None:
    out = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "stop_step", lambda self: self.step == 4 and (self.save(False) or True))
        assert tool("train", *arguments(motion_videos, out)).code == 75
    assert not (out / "validation.jsonl").exists()
    assert tool("train", *arguments(motion_videos, out)).code == 0
    assert [json.loads(line)["step"] for line in (out / "validation.jsonl").open()] == [4, 8]
    assert read_checkpoint(out / "checkpoints/last.pt")["best"] == straight["best"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_signal_to_all_processes_stops_with_a_checkpoint(
    how: signal.Signals, motion_videos: Path, tmp_path: Path, process: Callable
) -> None:
    out = tmp_path / "run"
    running = process("train", *arguments(motion_videos, out), "data.workers=1", "train.epochs=200")
    wait_for_step(running, out, 2)
    os.killpg(running.pid, how)
    ended = finish(running)
    assert ended.code == 75, ended.err
    assert "Traceback" not in ended.err
    assert read_checkpoint(out / "checkpoints/last.pt")["step"] >= 2


@pytest.mark.slow
def test_number_of_workers_changes_nothing(
    motion_videos: Path, straight: dict, tmp_path: Path, process: Callable
) -> None:
    ended = finish(process("train", *arguments(motion_videos, tmp_path / "run"), "data.workers=2"))
    assert ended.code == 0, ended.err
    found = read_checkpoint(tmp_path / "run/checkpoints/last.pt")
    assert same_tensors(found["model"], straight["model"])


def test_finished_run_has_nothing_to_do_and_refuses_other_settings(
    trained: Path, motion_videos: Path, tool: Callable
) -> None:
    again = tool("train", *arguments(motion_videos, trained))
    assert again.code == 0
    assert "is trained to its last step" in again.out
    other: ToolResult = tool("train", *arguments(motion_videos, trained), "optim.lr=0.5")
    assert other.code == 2
    assert "optim.lr was 0.002, now 0.5" in other.err
    fresh = tool("train", *arguments(motion_videos, trained), "train.resume=none")
    assert fresh.code == 2
    assert "holds a run; resume it" in fresh.err
