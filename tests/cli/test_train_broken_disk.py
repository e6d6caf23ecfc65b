"""Training whose run folder or data set fails: what is warned about, what ends the run, and what is saved."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import QUICK, ROOT, ToolResult, finish
from videopool.engine.checkpoints.files import read_checkpoint
from videopool.engine.watching.log import RunLog

pytestmark = pytest.mark.long

STEPS = 8


def arguments(videos: Path, out: Path) -> list[str]:
    return ["--config", str(ROOT / "configs/demo.yaml"), *QUICK, f"data.root={videos}", f"out={out}"]


@pytest.fixture
def faulty(motion_videos: Path, tmp_path: Path, process: Callable) -> Callable[[str], ToolResult]:
    """``faulty(fault)`` trains in a file system with that fault (see ``fault_at_step.py``), copied to disk.copy."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def run(fault: str) -> ToolResult:
        launcher = (str(ROOT / "tests/cli/fault_at_step.py"), fault, str(disk))
        ended = finish(
            process("train", *arguments(motion_videos, disk / "run"), "train.save_every=2", launcher=launcher)
        )
        if ended.code == 77:
            pytest.skip("runs where the tests may mount file systems")
        return ended

    return run


@pytest.mark.slow
def test_disk_that_is_full_for_a_while(faulty: Callable, tmp_path: Path) -> None:
    ended = faulty("full")
    assert ended.code == 0, ended.err
    assert "warning: the checkpoint of step 4 could not be written: No space left on device; " in ended.out
    assert "last.pt holds earlier weights; training continues" in ended.out
    assert read_checkpoint(tmp_path / "disk.copy/run/checkpoints/last.pt")["step"] == STEPS
    assert not list((tmp_path / "disk.copy/run/checkpoints").glob("*.tmp-*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason", "remedy"),
    [
        ("full at the end", "No space left on device", "Free space in"),
        ("read-only", "Read-only file system", "Make"),
    ],
)
def test_last_checkpoint_that_cannot_be_written_is_an_error(
    fault: str, reason: str, remedy: str, faulty: Callable, tmp_path: Path
) -> None:
    ended = faulty(fault)
    assert ended.code == 2
    error = ended.err.splitlines()[-1]
    assert error.startswith(f"error: the checkpoint of step {STEPS} could not be written: {reason}; ")
    assert "last.pt holds earlier weights" in error
    assert remedy in error
    assert error.endswith("and run the command again.")
    saved = read_checkpoint(tmp_path / "disk.copy/run/checkpoints/last.pt")["step"]
    assert saved == (2 if fault == "read-only" else 6)


@pytest.mark.slow
def test_run_folder_that_vanishes_is_made_again(faulty: Callable, tmp_path: Path) -> None:
    ended = faulty("renamed")
    assert ended.code == 0, ended.err
    assert "warning: step 4 is missing in" in ended.out
    assert read_checkpoint(tmp_path / "disk.copy/run/checkpoints/last.pt")["step"] == STEPS
    assert read_checkpoint(tmp_path / "disk.copy/elsewhere/checkpoints/last.pt")["step"] == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_data_set_that_vanishes(
    workers: int, motion_videos: Path, tmp_path: Path, tool: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = RunLog.training

    def training(self: RunLog, values: dict[str, Any]) -> None:
        original(self, values)
        if values["step"] == 5 and (tmp_path / "videos").exists():
            (tmp_path / "videos").rename(tmp_path / "elsewhere")

    monkeypatch.setattr(RunLog, "training", training)
    shutil.copytree(motion_videos, tmp_path / "videos")
    run = ["train", *arguments(tmp_path / "videos", tmp_path / "run"), f"data.workers={workers}", "train.epochs=4"]
    ended = tool(*run)
    assert ended.code == 2
    assert "No such file or directory" in ended.err
    stopped = read_checkpoint(tmp_path / "run/checkpoints/last.pt")["step"]
    assert stopped >= 5  # nothing is lost
    (tmp_path / "elsewhere").rename(tmp_path / "videos")
    again = tool(*run)
    assert again.code == 0, again.err
    assert f"resuming from step {stopped} of 16" in again.out
