"""Checkpoints with shards, of one process: what is written, kept, removed, damaged and refused."""

import errno
import hashlib
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tests.conftest import file_size_limit, same_tensors
from tests.engine.test_checkpoint import flip_a_bit, killed_saves
from tests.engine.test_checkpoint import state as plain_state
from videopool.engine.checkpoints.digests import digest_file
from videopool.engine.checkpoints.files import CheckpointFolder, read_checkpoint, read_weights
from videopool.engine.checkpoints.writer import CheckpointWriter, SaveError
from videopool.engine.cluster.distributed import World
from videopool.engine.cluster.sharding import shard
from videopool.errors import InputError

WORLD = World(0, 1, torch.device("cpu"))


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Run:
    """A divided network of this process alone, its optimizer, and a writer of their checkpoints."""

    def __init__(self, folder: Path, **kept: Any) -> None:
        torch.manual_seed(0)
        self.model = shard(nn.Sequential(nn.Conv3d(3, 7, 3), nn.BatchNorm3d(7), nn.Conv3d(7, 400, 1)), WORLD)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.folder = CheckpointFolder(folder, **{"keep": 2, **kept})
        self.writer = CheckpointWriter(self.folder, WORLD, sharded=True)
        self.train()

    def train(self) -> None:
        self.optimizer.zero_grad()
        self.model(torch.randn(2, 3, 4, 4, 4)).square().sum().backward()
        self.optimizer.step()

    def state(self, step: int, **more: Any) -> dict[str, Any]:
        return {
            **plain_state(step),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **more,
        }

    def save(self, step: int, *, is_best: bool = False, **more: Any) -> None:
        self.writer.wait()
        self.writer.save(self.state(step, **more), is_best=is_best)
        self.writer.wait()


@pytest.fixture
def run(group: None, tmp_path: Path) -> Run:
    return Run(tmp_path / "checkpoints")


def whole(value: Any) -> Any:
    """Return a state with whole tensors, in new memory."""
    if isinstance(value, torch.Tensor):
        return (value.full_tensor() if hasattr(value, "full_tensor") else value).detach().clone()
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    return [whole(item) for item in value] if isinstance(value, list) else value


def folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.shards"))


def test_what_is_written_is_the_whole_state_at_the_time_of_the_call(run: Run) -> None:
    state = run.state(1, averaged=run.model.state_dict(), averages=3)
    expected = whole(state)
    run.writer.save(state, is_best=True)
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.fill_(float("nan"))
            run.optimizer.state[parameter]["exp_avg"].fill_(float("nan"))
    run.writer.wait()
    for path in (run.folder.last, run.folder.best):
        found = read_checkpoint(path)
        assert found.pop("several_labels") is False
        assert same_tensors(found, expected)
        assert found["model"]._metadata == state["model"]._metadata  # versions of layers
        assert same_tensors(read_weights(path)["model"], expected["model"])
    small = torch.load(run.folder.last, weights_only=True)
    assert small["format"] == 2
    assert small["model"]["0.weight"].is_meta
    assert not small["model"]["1.running_mean"].is_meta
    assert b"checkpoints" not in (run.folder.folder / "step-0000001.shards/.metadata").read_bytes()  # no path


def test_torch_reads_the_shards_too(run: Run, tmp_path: Path) -> None:
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    run.save(1)
    dcp_to_torch_save(run.folder.folder / "step-0000001.shards", tmp_path / "torch.pt")
    found = torch.load(tmp_path / "torch.pt", weights_only=True)
    expected = read_checkpoint(run.folder.last)
    assert torch.equal(found["model/0.weight"], expected["model"]["0.weight"])
    assert torch.equal(found["optimizer/state/0/exp_avg"], expected["optimizer"]["state"][0]["exp_avg"])


def test_folders_live_as_long_as_a_checkpoint_refers_to_them(run: Run) -> None:
    folder = run.folder.folder
    run.folder.keep_every_hours = 2.0
    for step in (1, 2, 3, 4, 5):
        run.train()
        run.save(step, is_best=step == 2, trained_hours=0.75 * step)
    assert [path.name for path in run.folder.step_files()] == ["step-0000004.pt", "step-0000005.pt"]
    assert folders(folder) == [f"step-{step:07d}.shards" for step in (2, 3, 4, 5)]  # 2: best; 3: hours
    assert read_checkpoint(run.folder.best)["step"] == 2
    assert read_checkpoint(folder / "hours-002.25-step-0000003.pt")["step"] == 3
    run.save(6, is_best=True)
    assert folders(folder) == [f"step-{step:07d}.shards" for step in (3, 5, 6)]


def test_copy_of_a_user_keeps_its_folder(run: Run) -> None:
    run.save(1, is_best=True)
    run.save(2)
    folder = run.folder.folder
    shutil.copyfile(folder / "step-0000001.pt", folder / "paper.pt")
    (folder / "best.pt").unlink()  # a link
    shutil.copyfile(folder / "step-0000002.pt", folder / "best.pt")  # its digest stays that of step 1
    (folder / "broken.pt").write_bytes(b"nothing")
    for step in (3, 4, 5):
        run.save(step)
    assert folders(folder) == [f"step-{step:07d}.shards" for step in (1, 2, 4, 5)]
    assert read_checkpoint(folder / "paper.pt")["step"] == 1
    with pytest.raises(InputError, match=r"its SHA-256 is not the one in best\.pt\.sha256"):
        read_checkpoint(folder / "best.pt")
    digest_file(folder / "best.pt").unlink()
    assert read_checkpoint(folder / "best.pt")["step"] == 2


def test_folders_stay_while_a_checkpoint_cannot_be_opened(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.save(1, is_best=True)
    opened = torch.load

    def load(path: Path, **settings: Any) -> Any:
        if path.name == "best.pt":
            raise OSError(errno.ESTALE, "Stale file handle")
        return opened(path, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", load)
        for step in (2, 3, 4):
            run.save(step)
    assert read_checkpoint(run.folder.best)["step"] == 1
    run.save(5)
    assert sorted(path.name for path in run.folder.folder.glob("*.shards")) == [
        f"step-{step:07d}.shards" for step in (1, 4, 5)
    ]


def test_second_checkpoint_of_a_step_has_its_own_folder_until_it_is_complete(run: Run) -> None:
    run.save(1)
    before = read_checkpoint(run.folder.last)
    run.train()
    with file_size_limit(10_000), pytest.raises(SaveError):
        run.save(1)
    assert same_tensors(read_checkpoint(run.folder.last), before)
    run.save(1)
    assert folders(run.folder.folder) == ["step-0000001-1.shards"]
    assert not same_tensors(read_checkpoint(run.folder.last)["model"], before["model"])


def test_failed_write_is_reported_and_leaves_nothing(run: Run) -> None:
    run.save(1)
    message = r"step 2 could not be written: File too large \(process 0 on .+\)"
    with file_size_limit(10_000), pytest.raises(SaveError, match=message) as raised:
        run.save(2)
    assert raised.value.remedy == f"Free space in {run.folder.folder}"
    assert folders(run.folder.folder) == ["step-0000001.shards"]
    assert read_checkpoint(run.folder.last)["step"] == 1


def test_failed_commit_is_reported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("videopool.engine.checkpoints.files._write", fail)
    run.writer.save(run.state(1))
    with pytest.raises(SaveError, match="Read-only file system") as raised:
        run.writer.wait()
    assert raised.value.remedy == f"Make {run.folder.folder} writable"
    assert not list(run.folder.folder.iterdir())


def test_complete_checkpoint_whose_links_fail_keeps_its_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise OSError(28, "No space left on device")

    run.save(1)
    monkeypatch.setattr("videopool.engine.checkpoints.files._link", fail)
    with pytest.raises(SaveError, match="No space left on device"):
        run.save(2)
    assert read_checkpoint(run.folder.last)["step"] == 1
    assert read_checkpoint(run.folder.folder / "step-0000002.pt")["step"] == 2


def test_parts_that_the_main_process_does_not_see_are_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.suffix != ".distcp" and exists(path))
    run.writer.save(run.state(1))
    with pytest.raises(SaveError, match=r"__0_0\.distcp is not visible on .*a file system that all machines share"):
        run.writer.wait()


def test_folders_of_killed_saves_are_removed_by_the_next_one(run: Run) -> None:
    run.save(1)
    for name in ("step-0000002.shards", "step-0000003-1.shards"):
        shutil.copytree(run.folder.folder / "step-0000001.shards", run.folder.folder / name)
    (run.folder.folder / "videos.shards").mkdir()  # of the user
    assert run.folder.find_newest() == (run.folder.last, "")
    run.save(4)
    assert folders(run.folder.folder) == ["step-0000001.shards", "step-0000004.shards", "videos.shards"]


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "metadata", "folder"])
def test_damaged_shards(damage: str, run: Run) -> None:
    folder = run.folder.folder
    for step in (1, 2):
        run.save(step)
        os.utime(folder / f"step-{step:07d}.pt", (step, step))
    shards = folder / "step-0000002.shards"
    if damage == "flipped":
        flip_a_bit(shards / "__0_0.distcp")
    elif damage == "truncated":
        os.truncate(shards / "__0_0.distcp", 100)
    elif damage == "folder":
        shutil.rmtree(shards)
    else:
        (shards / {"missing": "__0_0.distcp", "metadata": ".metadata"}[damage]).unlink()
    file = ".metadata" if damage == "metadata" else "__0_0.distcp"
    absent = damage in ("missing", "metadata", "folder")
    reason = f"{shards.name}/{file} is missing" if absent else f"the SHA-256 of {shards.name}/{file} is another one"
    newest = run.folder.find_newest()
    assert newest is not None
    assert newest.path.name == "step-0000001.pt"
    assert f"checkpoint {run.folder.last} is damaged: {reason}" in newest.note
    assert newest.note.endswith(f"Using {newest.path} instead.")
    with pytest.raises(
        InputError, match=f"is damaged: {reason}.*copy or download it again. The newest .* {newest.path}"
    ):
        read_checkpoint(folder / "step-0000002.pt")
    with pytest.raises(InputError, match=f"weights .* is damaged: {reason}"):
        read_weights(folder / "step-0000002.pt")


def test_digests_of_all_files_are_those_of_sha256sum(run: Run) -> None:
    run.save(1, is_best=True)
    for name in ("step-0000001.pt", "last.pt", "best.pt"):
        lines = digest_file(run.folder.folder / name).read_text().splitlines()
        digests = {file: digest for digest, file in (line.split("  ") for line in lines)}
        assert digests.keys() == {name, *(f"step-0000001.shards/{file}" for file in ("__0_0.distcp", ".metadata"))}
        for file, digest in digests.items():
            assert hashlib.sha256((run.folder.folder / file).read_bytes()).hexdigest() == digest


def test_checkpoint_is_read_through_a_symbolic_link(run: Run, tmp_path: Path) -> None:
    run.save(1)
    (tmp_path / "chosen.pt").symlink_to(run.folder.last)
    assert read_checkpoint(tmp_path / "chosen.pt")["step"] == 1
    shutil.copyfile(run.folder.last, tmp_path / "alone.pt")
    with pytest.raises(InputError, match=r"alone\.pt is damaged: step-0000001\.shards/__0_0\.distcp is missing"):
        read_checkpoint(tmp_path / "alone.pt")


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_in_metadata_does_not_run(run: Run, tmp_path: Path) -> None:
    run.save(1)
    path = run.folder.folder / "step-0000001.pt"
    metadata = run.folder.folder / "step-0000001.shards/.metadata"
    metadata.write_bytes(pickle.dumps(Attack(tmp_path / "attacked")))
    content = torch.load(path, weights_only=True)
    content["shards"]["sha256"][".metadata"] = hashlib.sha256(metadata.read_bytes()).hexdigest()
    torch.save(content, tmp_path / "checkpoints/forged.pt")
    with pytest.raises(
        InputError, match=r"forged\.pt is damaged: .*\.metadata contains .*, which is not a plain value"
    ):
        read_checkpoint(tmp_path / "checkpoints/forged.pt")
    assert not (tmp_path / "attacked").exists()


def test_run_that_saves_while_a_checkpoint_is_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from videopool.engine.checkpoints import shards

    run.save(1)
    fault = shards._fault

    def replace(path: Path, digest: str) -> str:
        monkeypatch.setattr(shards, "_fault", fault)
        for step in (2, 3, 4):
            run.save(step)
        return fault(path, digest)  # the shards of step 1 are gone

    monkeypatch.setattr(shards, "_fault", replace)
    assert read_checkpoint(run.folder.last)["step"] == 4


SAVE_FOREVER = """
import itertools, sys, torch, torch.distributed as dist
from pathlib import Path
from tests.engine.test_sharded_checkpoints import Run
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
run = Run(Path(sys.argv[1]))
for step in itertools.count(int(sys.argv[2])):
    run.writer.wait()
    print(step, flush=True)  # all steps before this one are saved
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.fill_(step)
    run.writer.save(run.state(step), is_best=step % 3 == 0)
"""


@pytest.mark.long
@pytest.mark.slow
def test_kill_at_random_moments_of_a_save_leaves_a_good_newest_checkpoint(tmp_path: Path) -> None:
    for content in killed_saves(SAVE_FOREVER, tmp_path, starts=6, lines=2):  # the first save imports much
        assert (content["model"]["0.weight"] == content["step"]).all()
        assert len(folders(tmp_path)) <= 6  # of 2 steps, the best, one being replaced, and one being written
