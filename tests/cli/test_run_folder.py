"""One run in a folder at a time: who holds it, what a killed run leaves, several processes of one run."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import QUICK, ROOT, finish
from videopool.cli.run_folder import reserved
from videopool.engine.cluster.distributed import World
from videopool.errors import InputError

pytestmark = pytest.mark.long

ONE = World(0, 1, torch.device("cpu"))


@contextlib.contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen]:
    """Another process that holds ``folder`` until it is killed."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, cwd=ROOT) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            yield holder
        finally:
            holder.kill()


HOLD = """
import sys, time, torch
from pathlib import Path
from videopool.cli.run_folder import reserved
from videopool.engine.cluster.distributed import World
with reserved(Path(sys.argv[1]), World(0, 1, torch.device("cpu"))):
    print("held", flush=True)
    time.sleep(600)
"""


def test_second_run_names_the_first_until_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "new/run"
    with held(folder) as holder:
        expected = rf"{folder} is in use by another run \(process {holder.pid} on {socket.gethostname()}\)\. Wait"
        for _ in range(2):  # a refused run leaves the lock and the note as they are
            with pytest.raises(InputError, match=expected), reserved(folder, ONE):
                pass
    with reserved(folder, ONE):
        assert (folder / ".run.holder").read_text().startswith(f"process {os.getpid()} ")


def test_lock_of_a_machine_that_has_crashed_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videopool.cli.run_folder._LEASE_SECONDS", 3)
    with held(tmp_path) as holder:
        (tmp_path / ".run.holder").write_text("process 7 on elsewhere\n")
        with (
            pytest.raises(InputError, match=r"in use by another run \(process 7 on elsewhere\)"),
            reserved(tmp_path, ONE),
        ):
            pass
        monkeypatch.setattr("videopool.cli.run_folder.time.sleep", lambda seconds: (holder.kill(), holder.wait()))
        with reserved(tmp_path, ONE):
            assert str(os.getpid()) in (tmp_path / ".run.holder").read_text()


def write_and_fail(folder: Path) -> None:
    (folder / "run/tensorboard").mkdir()
    folder.read_text()


def test_folder_without_results_is_removed_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wrong"), reserved(tmp_path / "run", ONE):
        raise InputError("wrong")
    assert not (tmp_path / "run").exists()
    with pytest.raises(IsADirectoryError), reserved(tmp_path / "run", ONE):
        write_and_fail(tmp_path)
    assert (tmp_path / "run/tensorboard").exists()


def remove_and_fail(folder: Path) -> None:
    shutil.rmtree(folder)
    raise InputError("wrong")


def test_error_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="wrong"), reserved(tmp_path / "run", ONE):
        remove_and_fail(tmp_path / "run")


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(FileExistsError), reserved(tmp_path / "run", ONE):
        pass


def test_second_training_in_a_folder(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    arguments = training(motion_videos, tmp_path / "run")
    with held(tmp_path / "run") as holder:
        ended = tool("train", *arguments)
        assert ended.code == 2
        assert f"is in use by another run (process {holder.pid} on" in ended.err
        dry = tool("train", *arguments, "--dry-run")
        assert dry.code == 0, dry.err
    assert not (tmp_path / "run/log.jsonl").exists()


@pytest.mark.slow
def test_second_training_of_two_processes_in_a_folder(motion_videos: Path, tmp_path: Path, process: Callable) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    with held(tmp_path / "run") as holder:
        ended = finish(process("train", *training(motion_videos, tmp_path / "run"), launcher=launcher))
        assert ended.code != 0
        assert f"is in use by another run (process {holder.pid} on" in ended.err
    assert not (tmp_path / "run/log.jsonl").exists()


def training(videos: Path, out: Path) -> list[str]:
    """Return the arguments of a training on ``videos``."""
    return ["--config", str(ROOT / "configs/demo.yaml"), *QUICK, f"data.root={videos}", f"out={out}"]
