"""Checkpoints: whole or not at all, the newest kept, what is not ours refused."""

import os
from pathlib import Path

import pytest
import torch

from tests.conftest import file_size_limit
from videopool.engine.checkpoint import CheckpointFolder, read_checkpoint
from videopool.errors import InputError


def state(step: int) -> dict:
    return {"format": 1, "model": {"w": torch.full((3,), float(step))}, "step": step, "config": {}, "classes": []}


def test_keeps_the_newest_and_points_last_and_best(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    for step in (1, 2, 3, 10):
        folder.save(state(step), is_best=step == 2)
    assert [path.name for path in folder.step_files()] == ["step-0000003.pt", "step-0000010.pt"]
    assert read_checkpoint(folder.last)["step"] == 10
    assert read_checkpoint(folder.best)["step"] == 2  # its own step file is gone
    assert sorted(p.name for p in folder.folder.iterdir()) == [
        "best.pt",
        "last.pt",
        "step-0000003.pt",
        "step-0000010.pt",
    ]


def test_a_failed_write_leaves_the_last_one_and_no_rubbish(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    folder.save(state(1))
    large = {**state(2), "model": {"w": torch.zeros(100_000)}}
    with file_size_limit(50_000), pytest.raises(OSError, match=r"too large|could not be written"):
        folder.save(large)
    assert read_checkpoint(folder.last)["step"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "step-0000001.pt"]


def test_going_back_to_an_earlier_step_does_not_remove_what_follows_it(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    for number, step in enumerate((7, 8, 4, 5)):
        path = folder.save(state(step))
        os.utime(path, (number, number))
    folder.save(state(6))
    assert [path.name for path in folder.step_files()] == ["step-0000005.pt", "step-0000006.pt"]


def test_leftovers_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    (tmp_path / "step-0000005.pt.tmp-123").write_bytes(b"half")
    CheckpointFolder(tmp_path, keep=2).save(state(1))
    assert not list(tmp_path.glob("*.tmp-*"))


def test_what_is_not_a_checkpoint_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pt"
    torch.save(state(1), whole)
    (tmp_path / "half.pt").write_bytes(whole.read_bytes()[:200])
    torch.save({"format": 1, "model": {}}, tmp_path / "keys.pt")
    torch.save({"w": torch.ones(2)}, tmp_path / "other.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(InputError, match="it is truncated"):  # the other kinds: test_unreadable.py
        read_checkpoint(tmp_path / "half.pt")
    with pytest.raises(InputError, match="holds a list"):
        read_checkpoint(tmp_path / "list.pt")
    for name in ("other", "keys"):
        with pytest.raises(InputError, match=r"model\.pretrained"):
            read_checkpoint(tmp_path / f"{name}.pt")
    with pytest.raises(InputError, match="No such file"):
        read_checkpoint(tmp_path / "missing.pt")
    with pytest.raises(InputError, match="directory"):
        read_checkpoint(tmp_path)
