"""Checkpoints: whole or not at all, the newest kept, what is not ours refused."""

from pathlib import Path

import pytest
import torch

from videopool.engine import checkpoint
from videopool.engine.checkpoint import CheckpointFolder, read_checkpoint
from videopool.errors import InputError


def state(step: int) -> dict:
    return {"format": 1, "model": {"w": torch.full((3,), float(step))}, "step": step, "config": {"a": [1, None]}}


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


def test_a_failed_write_leaves_the_last_one_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    folder.save(state(1))

    def full_disk(value: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        folder.save(state(2))
    assert read_checkpoint(folder.last)["step"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "step-0000001.pt"]


def test_leftovers_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    (tmp_path / "step-0000005.pt.tmp-123").write_bytes(b"half")
    CheckpointFolder(tmp_path, keep=2).save(state(1))
    assert not list(tmp_path.glob("*.tmp-*"))


def test_what_is_not_a_checkpoint_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pt"
    torch.save(state(1), whole)
    (tmp_path / "half.pt").write_bytes(whole.read_bytes()[:200])
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save({"w": torch.ones(2)}, tmp_path / "other.pt")
    torch.save(Path("evil"), tmp_path / "pickle.pt")
    for name in ("half", "text", "empty", "pickle"):
        with pytest.raises(InputError, match="damaged or not a checkpoint"):
            read_checkpoint(tmp_path / f"{name}.pt")
    with pytest.raises(InputError, match=r"model\.pretrained"):
        read_checkpoint(tmp_path / "other.pt")
    with pytest.raises(InputError, match="No such file"):
        read_checkpoint(tmp_path / "missing.pt")
    with pytest.raises(InputError, match="directory"):
        read_checkpoint(tmp_path)
