"""Checkpoints: atomic writes, which files are kept, digests, the newest good file, errors for other files."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from tests.conftest import ROOT, file_size_limit
from videopool.engine.checkpoints import files as checkpoint
from videopool.engine.checkpoints.files import CheckpointFolder, read_checkpoint, read_weights
from videopool.errors import InputError


def state(step: int) -> dict:
    return {"format": 1, "model": {"w": torch.full((3,), float(step))}, "step": step, "config": {}, "classes": []}


def names(folder: Path) -> list[str]:
    """The checkpoints in ``folder``, each of which has its digest."""
    files = {path.name for path in folder.iterdir()}
    checkpoints = sorted(name for name in files if not name.endswith(".sha256"))
    assert files == {*checkpoints, *(f"{name}.sha256" for name in checkpoints)}
    return checkpoints


def flip_a_bit(path: Path) -> None:
    """Change one bit of the tensors in place, in all links to the file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_save_keeps_the_newest_and_links_last_and_best(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints", keep=2)
    for step in (1, 2, 3, 10):
        folder.save(state(step), is_best=step == 2)
    assert [path.name for path in folder.step_files()] == ["step-0000003.pt", "step-0000010.pt"]
    assert read_checkpoint(folder.last)["step"] == 10
    assert read_checkpoint(folder.best)["step"] == 2  # the file of step 2 is removed
    assert names(folder.folder) == ["best.pt", "last.pt", "step-0000003.pt", "step-0000010.pt"]


def test_failed_write_keeps_the_last_checkpoint_and_leaves_nothing(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    folder.save(state(1))
    large = {**state(2), "model": {"w": torch.zeros(100_000)}}
    with file_size_limit(50_000), pytest.raises(OSError, match=r"too large|could not be written"):
        folder.save(large)
    assert read_checkpoint(folder.last)["step"] == 1
    assert names(tmp_path) == ["last.pt", "step-0000001.pt"]


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


def test_sha256sum_checks_every_file(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    for step in (1, 2, 3, 3):
        folder.save(state(step), is_best=step == 2)
    command = "sha256sum -c *.sha256"
    checked = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert checked.stdout.splitlines() == [
        f"{name}: OK" for name in ("best.pt", "last.pt", "step-0000002.pt", "step-0000003.pt")
    ]
    flip_a_bit(tmp_path / "step-0000003.pt")
    assert subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True).returncode == 1


def test_digest_is_checked_on_reading(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=3)
    for step in (1, 2, 3):
        folder.save({**state(step), "model": {"w": torch.full((1000,), float(step))}})
    flip_a_bit(folder.last)
    expected = (
        r"last\.pt is damaged: its SHA-256 is not the one in last\.pt\.sha256; .* read there is .*step-0000002\.pt"
    )
    with pytest.raises(InputError, match=expected):
        read_checkpoint(folder.last)
    with pytest.raises(InputError, match="is damaged"):
        read_weights(folder.last)
    (tmp_path / "last.pt.sha256").unlink()  # as an older version wrote it
    assert read_checkpoint(folder.last)["step"] == 3
    (tmp_path / "copy.pt").write_bytes((tmp_path / "step-0000001.pt").read_bytes())
    (tmp_path / "copy.pt").replace(folder.best)
    (tmp_path / "best.pt.sha256").write_text((tmp_path / "step-0000002.pt.sha256").read_text())
    assert read_checkpoint(folder.best)["step"] == 1  # a copy of another checkpoint is intact


def test_file_that_is_replaced_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.save(state(1))
    is_intact = checkpoint.is_intact

    def replace(path: Path, file: BinaryIO) -> bool:
        monkeypatch.setattr(checkpoint, "is_intact", is_intact)
        folder.save(state(2))
        assert not is_intact(path, file)  # the old file and the new digest
        return False

    monkeypatch.setattr(checkpoint, "is_intact", replace)
    assert read_checkpoint(folder.last)["step"] == 2


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "missing"])
def test_newest_good_checkpoint_is_found(damage: str, tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=3)
    assert folder.find_newest() is None
    for step in (1, 2, 3):
        folder.save(state(step), is_best=step == 1)
        os.utime(tmp_path / f"step-{step:07d}.pt", (step, step))
    assert folder.find_newest() == (folder.last, "")
    if damage == "missing":
        folder.last.unlink()
        (tmp_path / "step-0000003.pt").unlink()
    elif damage == "flipped":
        flip_a_bit(folder.last)
    else:
        os.truncate(folder.last, 300 if damage == "truncated" else 0)
    found = folder.find_newest()
    assert found is not None
    assert found.path.name == "step-0000002.pt"
    reason = {"flipped": "is damaged", "truncated": "it is truncated", "empty": "it is empty"}
    if damage == "missing":
        assert not found.note
    else:
        assert found.note.startswith(f"checkpoint {folder.last}")
        assert reason[damage] in found.note
        assert found.note.endswith(f"Using {found.path} instead.")
        assert found.note.count("SHA-256") <= 1  # step-0000003.pt is the same file


@pytest.mark.parametrize("newest", ["step", "hours", "best"])
def test_newest_of_all_checkpoints_is_found_if_last_is_missing(newest: str, tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=1, keep_every_hours=1)
    order = {"step": (1, 2, 3), "hours": (1, 3, 2), "best": (3, 1, 2)}[newest]  # best, hours, step
    for name, time_ in zip(("best.pt", "hours-001.00-step-0000002.pt", "step-0000003.pt"), order, strict=True):
        checkpoint.write_checkpoint(tmp_path / name, state(time_))
        os.utime(tmp_path / name, (time_, time_))
    found = folder.find_newest()
    assert found is not None
    assert found.path.name.startswith(newest)
    assert read_checkpoint(found.path)["step"] == 3
    os.truncate(found.path, 100)
    second = folder.find_newest()
    assert second is not None
    assert read_checkpoint(second.path)["step"] == 2
    with pytest.raises(InputError, match=f"The newest checkpoint that can be read there is {second.path}"):
        read_checkpoint(found.path)


def test_all_checkpoints_damaged(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=3)
    for step in (1, 2):
        folder.save(state(step))
        os.truncate(folder.last, 100)
    with pytest.raises(
        InputError, match=r"no checkpoint in .*last\.pt .*; checkpoint .*step-0000001\.pt .*Restore one"
    ):
        folder.find_newest()


def test_one_checkpoint_of_every_two_hours_stays(tmp_path: Path) -> None:
    hours = (0.5, 1.9, 2.015, 3.0, 4.0, 4.025, 9.5, 10.0, 11.605)
    for step, trained in enumerate(hours, start=1):
        # A new object each time: a resumed run continues with the same rule.
        CheckpointFolder(tmp_path, keep=1, keep_every_hours=2).save({**state(step), "trained_hours": trained})
    kept = ["hours-002.01-step-0000003.pt", "hours-004.02-step-0000006.pt"]
    kept += ["hours-009.50-step-0000007.pt", "hours-011.60-step-0000009.pt"]
    assert names(tmp_path) == [*kept, "last.pt", "step-0000009.pt"]
    assert read_checkpoint(tmp_path / kept[1])["step"] == 6


SAVE_FOREVER = """
import itertools, sys, torch
from pathlib import Path
from tests.engine.test_checkpoint import state
from videopool.engine.checkpoints.files import CheckpointFolder
from videopool.engine.checkpoints.writer import CheckpointWriter
folder = CheckpointFolder(Path(sys.argv[1]), keep=2)
writer = CheckpointWriter(folder)
weights = torch.zeros(50_000)
for step in itertools.count(int(sys.argv[2])):
    writer.wait()
    print(step, flush=True)  # all steps before this one are saved
    writer.save({**state(step), "model": {"w": weights.fill_(step)}}, is_best=step % 3 == 0)
"""


def killed_saves(script: str, folder: Path, *, starts: int, lines: int) -> Iterator[dict]:
    """Start ``script FOLDER STEP`` again and again, kill it, and yield the newest checkpoint each time.

    The script prints each step before it starts to save it. It is killed up to 0.1 s after it has printed ``lines``.
    """
    saved, generator = 0, torch.Generator().manual_seed(0)
    for _ in range(starts):
        command = [sys.executable, "-c", script, str(folder), str(saved + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as running:
            assert running.stdout is not None
            first = [running.stdout.readline() for _ in range(lines)]
            time.sleep(0.1 * float(torch.rand((), generator=generator)))
            running.kill()
            begun = [*map(int, [*first, *running.stdout.read().split()])][-1]
        checkpoints = CheckpointFolder(folder, keep=2)
        found = checkpoints.find_newest()
        if begun == 1 and not checkpoints.last.exists():
            continue
        assert found == (checkpoints.last, "")
        content = read_checkpoint(found.path)
        saved = content["step"]
        assert saved in (begun - 1, begun)
        for path in (*checkpoints.step_files(), *filter(Path.exists, [checkpoints.best])):
            read_checkpoint(path)
        yield content
    assert saved > 1


@pytest.mark.slow
def test_kill_at_random_moments_of_a_save_leaves_a_good_newest_checkpoint(tmp_path: Path) -> None:
    for content in killed_saves(SAVE_FOREVER, tmp_path, starts=12, lines=1):
        assert torch.equal(content["model"]["w"], torch.full((50_000,), float(content["step"])))
