"""``videopool train``: the run's folder, several processes, bad videos, non-finite losses, full disks."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import QUICK, ROOT, file_size_limit, finish
from videopool.config import load
from videopool.engine.checkpoints.files import read_checkpoint
from videopool.engine.watching.log import RunLog

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
DEMO = ["--config", str(ROOT / "configs/demo.yaml"), *QUICK]


def test_run_folder(trained: Path) -> None:
    config = load(trained / "config.yaml")
    assert config.clip.frames == 4
    state = read_checkpoint(trained / "checkpoints/last.pt")
    assert state["step"] == 8
    assert len(state["classes"]) == 8
    assert {"model", "optimizer", "config", "best"} <= state.keys()
    training = [json.loads(line) for line in (trained / "log.jsonl").open()]
    assert [line["step"] for line in training] == list(range(1, 9))
    assert [line["epoch"] for line in training] == [0] * 4 + [1] * 4
    assert {"loss", "lr", "grad_norm", "top1", "clips_per_second"} <= training[0].keys()
    assert training[0]["lr"] == pytest.approx(0.01 * 2e-3)
    assert [json.loads(line)["step"] for line in (trained / "validation.jsonl").open()] == [4, 8]
    assert list((trained / "tensorboard").iterdir())


@pytest.mark.long
def test_two_processes_train_and_evaluate(
    motion_videos: Path, tmp_path: Path, process: Callable, tool: Callable
) -> None:
    launcher = (*TORCHRUN, "2")
    out = tmp_path / "run"
    ended = finish(process("train", *DEMO, f"data.root={motion_videos}", f"out={out}", launcher=launcher))
    assert ended.code == 0, ended.err
    state = read_checkpoint(out / "checkpoints/last.pt")
    assert state["step"] == 8  # as with one process, whose batches they share
    assert "batch: 4 clips a step, 2 on each of 2 processes" in ended.out
    assert not any(name.startswith("module.") for name in state["model"])
    ended = finish(process("evaluate", out / "checkpoints/last.pt", launcher=launcher))
    assert ended.code == 0, ended.err
    two = json.loads((out / "evaluation/metrics.json").read_text())
    ended = tool("evaluate", out / "checkpoints/last.pt", "--to", tmp_path / "one")
    assert ended.code == 0, ended.err
    one = json.loads((tmp_path / "one/metrics.json").read_text())
    assert one.keys() == two.keys()
    assert {key: value for key, value in one.items() if key != "checkpoint"} == {
        key: value for key, value in two.items() if key != "checkpoint"
    }


def with_broken(videos: Path, to: Path, count: int) -> Path:
    shutil.copytree(videos, to)
    for path in sorted((to / "train").rglob("*.mp4"))[:count]:
        path.write_bytes(path.read_bytes()[:100])
    return to


def test_bad_videos_are_replaced_counted_and_listed(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    root, out = with_broken(motion_videos, tmp_path / "videos", 2), tmp_path / "run"
    ended = tool("train", *DEMO, f"data.root={root}", f"out={out}", "data.max_bad_fraction=0.2")
    assert ended.code == 0, ended.err
    lines = [json.loads(line) for line in (out / "bad_videos.jsonl").open()]
    broken = [str(path) for path in sorted((root / "train").rglob("*.mp4"))[:2]]
    assert sorted(line["path"] for line in lines) == broken
    assert all(line["reason"] and line["step"] >= 1 for line in lines)
    log = [json.loads(line) for line in (out / "log.jsonl").open()]
    assert [line["bad_videos"] for line in log][-1] == 2


def test_too_many_bad_videos_stop_training(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    root = with_broken(motion_videos, tmp_path / "videos", 6)
    ended = tool("train", *DEMO, f"data.root={root}", f"out={tmp_path / 'run'}", "data.max_bad_fraction=0.2")
    assert ended.code == 2
    assert " videos could not be decoded, and data.max_bad_fraction allows 3.2. Repair" in ended.err
    assert "bad_videos.jsonl" in ended.err


def test_non_finite_loss_keeps_an_earlier_checkpoint(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    out = tmp_path / "run"
    explosive = ["optim={name: sgd, lr: 1e30}", "model.dropout=0", "train.save_every=1"]
    ended = tool("train", *DEMO, f"data.root={motion_videos}", f"out={out}", *explosive)
    assert ended.code == 2
    assert "not finite" in ended.err
    assert f"{out / 'checkpoints/last.pt'} holds earlier weights" in ended.err
    assert "Traceback" not in ended.err
    state = read_checkpoint(out / "checkpoints/last.pt")
    assert all(torch.isfinite(tensor).all() for tensor in state["model"].values())


def test_non_finite_loss_before_the_first_checkpoint(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    out = tmp_path / "run"
    explosive = ["optim={name: sgd, lr: 1e30, warmup_epochs: 0, clip_norm: 0}", "train.evaluate_every=0"]
    ended = tool("train", *DEMO, f"data.root={motion_videos}", f"out={out}", "model.dropout=0", *explosive)
    assert ended.code == 2
    assert "not finite in step 2 (learning rate" in ended.err
    assert "; there is no earlier checkpoint. Lower optim.lr" in ended.err
    assert not (out / "checkpoints").exists()


@pytest.mark.slow
def test_full_disk_is_a_warning_until_training_ends(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    run = ["train", *DEMO, f"data.root={motion_videos}", f"out={tmp_path / 'run'}", "train.save_every=3"]
    with file_size_limit(40_000):
        full = tool(*run)
    assert full.code == 2
    assert "Traceback" not in full.err
    assert "checkpoint of step 3 could not be written" in full.out
    assert "there is no earlier checkpoint; training continues" in full.out
    assert "checkpoint of step 8 could not be written" in full.err
    assert "Free space" in full.err
    again = tool(*run)
    assert again.code == 0, again.err
    assert read_checkpoint(tmp_path / "run/checkpoints/last.pt")["step"] == 8


def test_stop_without_a_checkpoint_is_an_error(
    motion_videos: Path, tmp_path: Path, tool: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = RunLog.training

    def training(self: RunLog, values: dict) -> None:
        original(self, values)
        if values["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunLog, "training", training)
    with file_size_limit(40_000):
        ended = tool("train", *DEMO, f"data.root={motion_videos}", f"out={tmp_path / 'run'}")
    assert ended.code == 2
    assert "checkpoint of step 2 could not be written" in ended.err
    assert "there is no earlier checkpoint. Free space in" in ended.err
    assert "stopped on request" not in ended.out


def test_repaired_videos_are_not_counted_after_a_restart(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    root = with_broken(motion_videos, tmp_path / "videos", 6)
    run = ["train", *DEMO, f"data.root={root}", f"out={tmp_path / 'run'}"]
    assert tool(*run).code == 2
    shutil.copytree(motion_videos, root, dirs_exist_ok=True)
    again = tool(*run)
    assert again.code == 0, again.err
    assert not (tmp_path / "run/bad_videos.jsonl").read_text()


def test_bad_test_videos_do_not_stop_training(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    root, out = tmp_path / "videos", tmp_path / "run"
    shutil.copytree(motion_videos, root)
    for path in sorted((root / "test").rglob("*.mp4"))[:4]:
        path.write_bytes(b"not a video")
    ended = tool("train", *DEMO, f"data.root={root}", f"out={out}")
    assert ended.code == 0, ended.err
    assert "4 of 8 videos unscored" in ended.out
    assert len((out / "bad_videos.jsonl").read_text().splitlines()) == 4


def test_resuming_with_another_number_of_videos_is_refused(
    trained: Path, motion_videos: Path, tmp_path: Path, tool: Callable
) -> None:
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    fewer = tmp_path / "videos"
    shutil.copytree(motion_videos, fewer)
    for path in sorted((fewer / "train").rglob("*.mp4"))[::2]:
        path.unlink()
    ended = tool("train", *DEMO, f"data.root={fewer}", f"out={out}")
    assert ended.code == 2
    assert "The checkpoint has 4 steps per epoch, this run 2" in ended.err


@pytest.mark.long
def test_a_run_resumes_with_another_number_of_processes(
    motion_videos: Path, tmp_path: Path, process: Callable, tool: Callable
) -> None:
    settings = [*DEMO, f"data.root={motion_videos}", "train.norm_batch=2", "optim={name: sgd, lr: 0.02}"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert tool("train", *settings, f"out={whole}").code == 0
    stop_at = str(ROOT / "tests/engine/signal_at_step.py")
    for launcher, reached in (((stop_at, "2", "SIGTERM"), 2), ((*TORCHRUN, "2", stop_at, "3", "SIGTERM"), 3)):
        ended = finish(process("train", *settings, f"out={parts}", launcher=launcher))
        assert read_checkpoint(parts / "checkpoints/last.pt")["step"] == reached, ended.err
    ended = tool("train", *settings, f"out={parts}")
    state = read_checkpoint(parts / "checkpoints/last.pt")
    assert state["step"] == 8, ended.err
    expected = read_checkpoint(whole / "checkpoints/last.pt")
    # Rounding differs: float32 sums of gradients of 4 clips, over 8 steps, relative to weights of up to 1.
    torch.testing.assert_close(state["model"], expected["model"], rtol=1e-4, atol=1e-5)
    assert state["best"] == expected["best"]


def test_a_resumed_run_keeps_its_batch_norm_groups_as_the_warning_advises(train: Callable) -> None:
    train("train.epochs=1", "optim.warmup_epochs=0")
    fewer = train("train.epochs=1", "optim.warmup_epochs=0", "train.batch_per_device=2")
    warning = "warning: batch norm now uses the statistics of 2 clips instead of 4; set train.norm_batch=4 to keep 4"
    assert warning in fewer.out
    assert "batch norm now" not in train("train.epochs=1", "optim.warmup_epochs=0", "train.norm_batch=4").out
    other = train("train.epochs=1", "optim.warmup_epochs=0", "train.norm_batch=2", code=2)
    assert "(train.norm_batch was 0, now 2)" in other.err


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_cuda(precision: str, optimizer: str, motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    if not torch.cuda.is_available():
        if os.environ.get("VIDEOPOOL_REQUIRE_CUDA") == "1":
            pytest.fail("VIDEOPOOL_REQUIRE_CUDA=1, but torch sees no GPU")
        pytest.skip("runs on a machine with a GPU")
    changed = ["train.device=cuda", f"train.precision={precision}", f"optim.name={optimizer}", f"out={tmp_path}"]
    ended = tool("train", *DEMO, f"data.root={motion_videos}", *changed, "train.save_every=3")
    assert ended.code == 0, ended.err
    shutil.copyfile(tmp_path / "checkpoints/step-0000006.pt", tmp_path / "checkpoints/last.pt")
    ended = tool("train", *DEMO, f"data.root={motion_videos}", *changed, "train.save_every=3")
    assert ended.code == 0, ended.err
    assert read_checkpoint(tmp_path / "checkpoints/last.pt")["step"] == 8
    assert tool("evaluate", tmp_path / "checkpoints/last.pt").code == 0
