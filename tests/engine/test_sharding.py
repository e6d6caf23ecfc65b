"""Sharded training equals training with whole weights, and any number of processes reads its checkpoints."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import videopool
from tests.conftest import QUICK, ROOT, finish, same_tensors
from tests.engine.processes import marked
from tests.engine.sharding_processes import network, restore, state
from tests.engine.test_probe import free_port
from videopool.engine.checkpoints.files import read_checkpoint, read_weights, write_checkpoint
from videopool.engine.optimization.optimizers import build_optimizer

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def arguments(videos: Path, out: Path, *further: str) -> list[str]:
    config = ["--config", str(ROOT / "configs/demo.yaml"), *QUICK, f"data.root={videos}", f"out={out}"]
    return [*config, "train.batch=8", "train.batch_per_device=2", "train.norm_batch=2", *further]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_sharded_training(
    optimizer: str, motion_videos: Path, tmp_path: Path, process: Callable, tool: Callable
) -> None:
    """Two sharded processes, of which one continues alone, against one process; the rounding of sums differs."""
    rate = {"adamw": "1e-4", "sgd": "0.01"}[optimizer]
    settings = [f"optim={{name: {optimizer}, lr: {rate}, clip_norm: {1.0 if optimizer == 'sgd' else 0.0}}}"]
    settings += ["train.save_every=3", "train.evaluate_every=0", "train.keep=9"]
    settings += ["train.ema=0.9"] if optimizer == "adamw" else ["train.swa_start=1", "train.precise_norm=2"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert tool("train", *arguments(motion_videos, one, *settings)).code == 0
    ended = finish(process("train", *arguments(motion_videos, two, *settings, "train.sharding=full"), launcher=TWO))
    assert ended.code == 0, ended.err
    losses = [[line["loss"] for line in map(json.loads, (out / "log.jsonl").open())] for out in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    whole, sharded = (read_checkpoint(out / "checkpoints/last.pt") for out in (one, two))
    for part in ("model", "averaged", "optimizer"):
        assert same_shapes(whole[part], sharded[part])
    for part in ("model", "averaged"):
        assert_close(sharded[part], whole[part])

    for name in ("last.pt", "best.pt", "step-0000004.pt"):
        (two / "checkpoints" / name).unlink()
    again = tool("train", *arguments(motion_videos, two, *settings))
    assert again.code == 0, again.err
    assert "resuming from step 3 of 4" in again.out
    resumed = read_checkpoint(two / "checkpoints/last.pt")
    for part in ("model", "averaged"):
        assert_close(resumed[part], sharded[part])


@pytest.mark.slow
def test_killed_run_resumes_bit_for_bit(motion_videos: Path, tmp_path: Path) -> None:
    """Killed while it saves after every step. With validations and clipping by value."""
    settings = ["train.sharding=full", "train.save_every=1", "optim.clip_norm=0", "optim.clip_value=0.1"]
    settings += ["train.ema=0.9"]
    straight, killed = (
        [*TWO, str(ROOT / "tools/train.py"), *arguments(motion_videos, tmp_path / name, *settings)]
        for name in ("straight", "killed")
    )
    folder = tmp_path / "killed/checkpoints"
    with marked() as started:
        ended = started.run(*straight, seconds=200)
        assert ended.code == 0, ended.err
        started.start(*killed)
        while not (folder / "step-0000002.shards").exists():
            time.sleep(0.01)
        for pid in started.alive():
            os.kill(pid, signal.SIGKILL)
        again = started.run(*killed, seconds=200)
        assert again.code == 0, again.err
        assert "resuming from step " in again.out
    first, second = (read_checkpoint(tmp_path / f"{name}/checkpoints/last.pt") for name in ("straight", "killed"))
    for part in ("model", "averaged", "optimizer", "best"):
        assert same_tensors(first[part], second[part]), part
    for path in folder.glob("*.pt"):
        read_checkpoint(path)
    digests = " ".join(path.read_text() for path in folder.glob("*.sha256"))
    assert all(f" {path.name}/" in digests for path in folder.glob("*.shards"))  # nothing is left of the killed save


@pytest.mark.slow
def test_processes_without_a_common_folder_are_refused(motion_videos: Path, tmp_path: Path) -> None:
    """Their working directories differ, and ``out`` is relative."""
    run = arguments(motion_videos, Path("run"), "train.sharding=full")
    command = [sys.executable, str(ROOT / "tools/train.py"), *run]
    given = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    running = []
    for rank in ("0", "1"):
        (tmp_path / rank).mkdir()
        environment = {**os.environ, **given, "RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen(command, env=environment, cwd=tmp_path / rank, **pipes))
    ended = [finish(process) for process in running]
    assert [result.code for result in ended] == [2, 2]
    errors = " ".join(result.err for result in ended)
    assert re.search("process 1 on .* does not see the files that process 0 writes to run", errors)


@pytest.mark.slow
def test_commands_read_sharded_checkpoints(
    motion_videos: Path, tmp_path: Path, process: Callable, tool: Callable
) -> None:
    """They give what they give for the same weights in one file."""
    run = arguments(motion_videos, tmp_path / "run", "optim.clip_norm=0", "train.evaluate_every=0")
    ended = finish(process("train", *run, "train.sharding=full", launcher=TWO))
    assert ended.code == 0, ended.err
    sharded, single = tmp_path / "run/checkpoints/last.pt", tmp_path / "single.pt"
    write_checkpoint(single, read_checkpoint(sharded))
    video = min((motion_videos / "test").rglob("*.mp4"))
    outputs = []
    for path in (sharded, single):
        to = tmp_path / path.stem
        assert tool("evaluate", path, "--to", to / "evaluation").code == 0
        assert tool("export", path, "--format", "weights", "--to", to / "export").code == 0
        predicted = tool("predict", path, video)
        assert predicted.code == 0, predicted.err
        scores = videopool.load(path).scores(video)
        outputs.append((np.load(to / "evaluation/scores.npz")["scores"].tobytes(), predicted.out, str(scores)))
        assert (to / "export/model.safetensors").exists()
    assert outputs[0] == outputs[1]
    assert read_weights(tmp_path / "last/export/model.safetensors").keys() == read_checkpoint(single)["model"].keys()
    more = [f"model.pretrained={sharded}", f"train.distill={sharded}", "train.epochs=1", "optim.warmup_epochs=0"]
    tuned = tool("train", *arguments(motion_videos, tmp_path / "tuned", *more))
    assert tuned.code == 0, tuned.err
    assert "tensors loaded" in tuned.out
    again = tool("train", *run, "--replay", tmp_path / "run/checkpoints/step-0000002.pt")
    assert again.code == 0, again.err
    assert "step 3: " in again.out


@pytest.mark.slow
def test_sharded_failure_is_saved_and_combinations_are_refused(
    motion_videos: Path, tmp_path: Path, process: Callable, tool: Callable
) -> None:
    run = arguments(motion_videos, tmp_path / "run", "train.sharding=full")
    refused = finish(process("train", *run, "train.compile=try", launcher=TWO))
    assert refused.code != 0
    assert "train.compile=try does not work with train.sharding=full" in refused.err
    explosive = ["optim={name: sgd, lr: 1e30, warmup_epochs: 0, clip_norm: 0}", "model.dropout=0"]
    ended = finish(process("train", *run, *explosive, launcher=TWO))
    assert ended.code != 0
    assert "not finite in step 2" in ended.err
    again = tool("train", *run, *explosive, "--replay", tmp_path / "run/failed-step-0000002.pt")
    assert again.code == 0, again.err
    assert "first output that is not finite" in again.out


@pytest.mark.slow
def test_parts_and_whole_of_a_network(tmp_path: Path) -> None:
    """The assertions are in ``sharding_processes.py``."""
    processes(2, tmp_path)


@pytest.mark.slow
def test_any_number_of_processes_reads_a_checkpoint_bit_for_bit(tmp_path: Path) -> None:
    """Two processes write, of which four read; one, which writes whole tensors, of which four read; and back to two."""
    new, two, four, one, again, back = (
        tmp_path / f"{name}.pt" for name in ("new", "two", "four", "one", "again", "back")
    )
    processes(2, new, two)
    model = network()
    optimizer = build_optimizer(model, "adamw", lr=0.1, weight_decay=0.1)
    restore(model, optimizer, two)
    write_checkpoint(one, state(model, optimizer))
    processes(4, two, four, one, again)
    processes(2, four, back)
    expected = read_checkpoint(two)
    assert expected["optimizer"]["state"][0]["exp_avg"].abs().sum() > 0
    for path, files in ((four, 4), (one, 0), (again, 4), (back, 2)):
        found = read_checkpoint(path)
        assert same_tensors(found["model"], expected["model"])
        assert same_tensors(found["optimizer"]["state"], expected["optimizer"]["state"])
        assert found["optimizer"]["param_groups"][0]["lr"] == expected["optimizer"]["param_groups"][0]["lr"]
        assert len(list(tmp_path.glob(f"{path.stem}.shards/*.distcp"))) == files


def processes(count: int, *arguments: Path) -> None:
    """Run ``sharding_processes.py`` on ``count`` processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command = [sys.executable, *launcher, str(ROOT / "tests/engine/sharding_processes.py"), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("passed") == count


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Assert that two state dicts differ only by the rounding of sums in a few steps."""
    torch.testing.assert_close(dict(found), dict(expected), rtol=1e-3, atol=1e-4)


def same_shapes(one: object, other: object) -> bool:
    """Return whether two nested structures have the same keys, and tensors of the same shape and type."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and (one.shape, one.dtype) == (other.shape, other.dtype)
    if isinstance(one, dict):
        return (
            isinstance(other, dict) and one.keys() == other.keys() and all(same_shapes(one[k], other[k]) for k in one)
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_shapes, one, other))
    return type(one) is type(other)
