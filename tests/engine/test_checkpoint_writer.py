"""Checkpoints written by a thread: real copies, memory that is used again, one at a time, failures."""

import errno
import os
import threading
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import file_size_limit, same_tensors
from tests.engine.test_checkpoint import names, state
from videopool.engine.checkpoints.files import CheckpointFolder, read_checkpoint
from videopool.engine.checkpoints.writer import CheckpointWriter, HostCopy, SaveError


class SlowFolder(CheckpointFolder):
    """Writes when ``go`` is set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, keep=3)
        self.go = threading.Event()

    def save(self, state: dict[str, Any], *, is_best: bool = False) -> Path:
        assert self.go.wait(30)
        return super().save(state, is_best=is_best)


def test_what_is_written_is_the_state_at_the_time_of_the_call(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4)).to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    folder = SlowFolder(tmp_path)
    writer = CheckpointWriter(folder)
    expected = []
    for step in (1, 2):
        model(torch.randn(2, 3, 5, 5, 5)).square().sum().backward()
        optimizer.step()
        full = {**state(step), "model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(full, tmp_path / "expected.pt")
        expected.append(torch.load(tmp_path / "expected.pt", weights_only=True))
        folder.go.clear()
        writer.save(full)
        assert not writer.done
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(float("nan"))
                optimizer.state[parameter]["exp_avg"].fill_(float("nan"))
        folder.go.set()
        writer.wait()
        model.load_state_dict(expected[-1]["model"])
        optimizer.load_state_dict(deepcopy(expected[-1]["optimizer"]))  # takes over the tensors
    writer.close()
    for step in (1, 2):
        found = read_checkpoint(tmp_path / f"step-{step:07d}.pt")
        assert same_tensors({name: found[name] for name in expected[0]}, expected[step - 1])
        assert found["model"]._metadata == expected[0]["model"]._metadata  # versions of layers
        weight = "0.weight"
        assert found["model"][weight].stride() == expected[0]["model"][weight].stride()


def test_memory_of_the_copy_is_used_again() -> None:
    copy = HostCopy()
    tensors = {"a": torch.arange(4.0), "b": [torch.ones(2, dtype=torch.int64), 3, "x"], "c": (torch.zeros(()),)}
    first = copy(tensors)
    places = [first["a"].data_ptr(), first["b"][0].data_ptr()]
    tensors["a"] = tensors["a"] + 1
    second = copy(tensors)
    assert same_tensors(second, tensors)
    assert [second["a"].data_ptr(), second["b"][0].data_ptr()] == places
    tensors["a"] = torch.arange(5.0)  # another shape needs other memory
    assert same_tensors(copy(tensors), tensors)
    assert second["a"].tolist() == [1, 2, 3, 4]


def test_copies_keep_shared_and_strided_tensors() -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    values = {
        "one": shared,
        "two": shared.detach(),
        "transposed": shared.t(),
        "part": shared[:, 1:],
        "none": shared[:0],
    }
    copied = HostCopy()(values)
    assert same_tensors(copied, values)
    assert copied["one"].data_ptr() == copied["two"].data_ptr()
    assert copied["transposed"].stride() == shared.t().stride()
    shared.fill_(-1)
    assert copied["one"][1, 2] == 5
    assert not HostCopy()({"p": nn.Parameter(shared)})["p"].requires_grad


def test_failure_is_reported_once_and_the_next_save_succeeds(tmp_path: Path) -> None:
    writer = CheckpointWriter(CheckpointFolder(tmp_path / "run", keep=2))
    large = {**state(1), "model": {"w": torch.zeros(100_000)}}
    with file_size_limit(50_000):
        writer.save(large)
        with pytest.raises(SaveError, match="checkpoint of step 1 could not be written: File too large") as raised:
            writer.wait()
    assert raised.value.remedy == f"Free space in {tmp_path / 'run'}"
    writer.wait()
    assert writer.done
    writer.save({**large, "step": 2})
    writer.close()
    assert names(tmp_path / "run") == ["last.pt", "step-0000002.pt"]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.EROFS, "Make {} writable"), (errno.EACCES, "Make {} writable"), (errno.ENOSPC, "Free space in {}")],
)
def test_remedies(number: int, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("videopool.engine.checkpoints.files._write", fail)
    writer = CheckpointWriter(CheckpointFolder(tmp_path, keep=2))
    writer.save(state(1))
    with pytest.raises(SaveError, match=os.strerror(number)) as raised:
        writer.wait()
    assert raised.value.remedy == remedy.format(tmp_path)
    assert not list(tmp_path.iterdir())


def test_folder_that_vanishes_is_made_again(tmp_path: Path) -> None:
    writer = CheckpointWriter(CheckpointFolder(tmp_path / "run/checkpoints", keep=2))
    writer.save(state(1))
    writer.wait()
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    writer.save(state(2))
    writer.wait()
    assert names(tmp_path / "run/checkpoints") == ["last.pt", "step-0000002.pt"]


def test_copies_of_cuda_tensors_are_pinned_and_complete() -> None:
    if not torch.cuda.is_available():
        if os.environ.get("VIDEOPOOL_REQUIRE_CUDA") == "1":
            pytest.fail("VIDEOPOOL_REQUIRE_CUDA=1, but torch sees no GPU")
        pytest.skip("runs on a machine with a GPU")
    copy = HostCopy()
    weights = torch.zeros(50_000_000, device="cuda")
    for step in range(3):
        weights.fill_(step)
        copied = copy({"w": weights, "cpu": torch.tensor(step)})
        weights.fill_(-1)
        assert copied["w"].is_pinned()
        assert torch.equal(copied["w"], torch.full_like(copied["w"], step))
