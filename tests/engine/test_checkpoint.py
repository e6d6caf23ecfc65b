"""Checkpoints: atomic writes, which files are kept, errors for other files."""

import os
from pathlib import Path

import pytest
import torch

from tests.conftest import file_size_limit
from videopool.engine.checkpoint import CheckpointFolder, read_checkpoint
from videopool.errors import InputError


def state(step: int) -> dict:
    return {"format": 1, "model": {"w": torch.full((3,), float(step))}, "step": step, "config": {}, "classes": []}


def test_save_keeps_the_newest_and_links_last_and_best(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    for step in (1, 2, 3, 10):
        folder.save(state(step), is_best=step == 2)
    assert [path.name for path in folder.step_files()] == ["step-0000003.pt", "step-0000010.pt"]
    assert read_checkpoint(folder.last)["step"] == 10
    assert read_checkpoint(folder.best)["step"] == 2  # the file of step 2 is removed
    assert sorted(p.name for p in folder.folder.iterdir()) == [
        "best.pt",
        "last.pt",
        "step-0000003.pt",
        "step-0000010.pt",
    ]


def test_failed_write_keeps_the_last_checkpoint_and_leaves_nothing(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    folder.save(state(1))
    large = {**state(2), "model": {"w": torch.zeros(100_000)}}
    with file_size_limit(50_000), pytest.raises(OSError, match=r"too large|could not be written"):
        folder.save(large)
    assert read_checkpoint(folder.last)["step"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "step-0000001.pt"]


def test_restart_from_an_earlier_step_keeps_the_newest_files(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    for number, step in enumerate((7, 8, 4, 5)):
        path = folder.save(state(step))
        os.utime(path, (number, number))
    folder.save(state(6))
    assert [path.name for path in folder.step_files()] == ["step-0000005.pt", "step-0000006.pt"]


def test_save_removes_temporary_files_of_a_killed_process(tmp_path: Path) -> None:
    (tmp_path / "step-0000005.pt.tmp-123").write_bytes(b"half")
    CheckpointFolder(tmp_path, keep=2).save(state(1))
    assert not list(tmp_path.glob("*.tmp-*"))


def test_other_files_are_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pt"
    torch.save(state(1), whole)
    (tmp_path / "half.pt").write_bytes(whole.read_bytes()[:200])
    torch.save({"format": 1, "model": {}}, tmp_path / "keys.pt")
    torch.save({"w": torch.ones(2)}, tmp_path / "other.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(InputError, match="it is truncated"):  # more formats in test_unreadable.py
        read_checkpoint(tmp_path / "half.pt")
    with pytest.raises(InputError, match="contains a list"):
        read_checkpoint(tmp_path / "list.pt")
    for name in ("other", "keys"):
        with pytest.raises(InputError, match=r"model\.pretrained"):
            read_checkpoint(tmp_path / f"{name}.pt")
    with pytest.raises(InputError, match="No such file"):
        read_checkpoint(tmp_path / "missing.pt")
    with pytest.raises(InputError, match="directory"):
        read_checkpoint(tmp_path)
