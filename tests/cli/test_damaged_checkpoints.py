"""A run whose newest checkpoint is damaged or missing, and tools that are given a damaged file."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import QUICK, ROOT, finish, same_tensors
from tests.engine.test_checkpoint import flip_a_bit
from videopool.engine.checkpoints.files import read_checkpoint

pytestmark = pytest.mark.long

TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def arguments(videos: Path, out: Path) -> list[str]:
    config = ["--config", str(ROOT / "configs/demo.yaml"), *QUICK, f"data.root={videos}", f"out={out}"]
    return [*config, "train.save_every=3"]


@pytest.fixture
def run(trained: Path, motion_videos: Path, tmp_path: Path, tool: Callable) -> tuple[list[str], Path]:
    """Arguments of a finished run of 8 steps with checkpoints of steps 4, 6 and 8, and the folder of these."""
    command = arguments(motion_videos, tmp_path / "run")
    assert tool("train", *command).code == 0
    folder = tmp_path / "run/checkpoints"
    assert [path.name for path in sorted(folder.glob("step-*.pt"))] == [f"step-000000{step}.pt" for step in (4, 6, 8)]
    return command, folder


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_resume_from_the_newest_good_checkpoint(
    damage: str, run: tuple[list[str], Path], trained: Path, tool: Callable
) -> None:
    command, folder = run
    if damage == "missing":
        (folder / "last.pt").unlink()
        (folder / "step-0000008.pt").unlink()
    elif damage == "flipped":
        flip_a_bit(folder / "last.pt")
    else:
        os.truncate(folder / "last.pt", 1000)
    again = tool("train", *command)
    assert again.code == 0, again.err
    assert "resuming from step 6 of 8" in again.out
    warnings = [line for line in again.out.splitlines() if line.startswith("warning: ")]
    if damage == "missing":
        assert not warnings
    else:
        reason = {"flipped": "is damaged: its SHA-256", "truncated": "it is truncated (at 1,000 bytes)"}[damage]
        assert len(warnings) == 1
        assert f"checkpoint {folder / 'last.pt'} " in warnings[0]
        assert reason in warnings[0]
        assert warnings[0].endswith(f"Using {folder / 'step-0000006.pt'} instead.")
    found, expected = read_checkpoint(folder / "last.pt"), read_checkpoint(trained / "checkpoints/last.pt")
    for part in ("model", "optimizer", "best"):
        assert same_tensors(found[part], expected[part]), part
    steps = [line["step"] for line in map(json.loads, (folder.parent / "log.jsonl").open())]
    assert steps == list(range(1, 9))


def test_damaged_files_are_errors_where_they_are_named(run: tuple[list[str], Path], tool: Callable) -> None:
    command, folder = run
    flip_a_bit(folder / "last.pt")
    advice = f"The newest checkpoint that can be read there is {folder / 'step-0000006.pt'}"
    for ended in (
        tool("train", *command, f"train.resume={folder / 'last.pt'}"),
        tool("evaluate", folder / "last.pt"),
        tool("export", folder / "last.pt", "--to", folder.parent / "export"),
    ):
        assert ended.code == 2
        assert "last.pt is damaged: its SHA-256" in ended.err
        assert advice in ended.err
        assert len(ended.err.splitlines()) == 1
    assert tool("evaluate", folder / "step-0000006.pt").code == 0


def test_no_checkpoint_that_can_be_read_is_an_error(run: tuple[list[str], Path], tool: Callable) -> None:
    command, folder = run
    for path in folder.glob("*.pt"):
        os.truncate(path, 100)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    ended = tool("train", *command)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert f"error: no checkpoint in {folder} can be read: " in ended.err
    assert all(f"step-000000{step}.pt" in ended.err for step in (4, 6))
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.slow
def test_two_processes_resume_from_the_same_good_checkpoint(run: tuple[list[str], Path], process: Callable) -> None:
    command, folder = run
    flip_a_bit(folder / "last.pt")
    ended = finish(process("train", *command, "train.batch=4", launcher=TWO))
    assert ended.code == 0, ended.err
    assert ended.out.count("is damaged") == 1
    assert "resuming from step 6 of 8" in ended.out
    assert read_checkpoint(folder / "last.pt")["step"] == 8
