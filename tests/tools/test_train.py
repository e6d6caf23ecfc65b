"""tools/train.py: what a run leaves, several processes, bad videos, losses that are not finite."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import QUICK, ROOT, finish
from videopool.config import load
from videopool.engine.checkpoint import read_checkpoint

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


def test_two_processes_train_and_evaluate(motion_videos: Path, tmp_path: Path, process: Callable) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    out = tmp_path / "run"
    ended = finish(process("train", *DEMO, f"data.root={motion_videos}", f"out={out}", launcher=launcher))
    assert ended.code == 0, ended.err
    state = read_checkpoint(out / "checkpoints/last.pt")
    assert state["step"] == 4  # the same epochs in half the steps
    assert not any(name.startswith("module.") for name in state["model"])
    ended = finish(process("evaluate", out / "checkpoints/last.pt", launcher=launcher))
    assert ended.code == 0, ended.err
    two = json.loads((out / "evaluation/metrics.json").read_text())
    ended = finish(process("evaluate", out / "checkpoints/last.pt", "--to", tmp_path / "one"))
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


def test_too_many_bad_videos_stop_the_run(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    root = with_broken(motion_videos, tmp_path / "videos", 6)
    ended = tool("train", *DEMO, f"data.root={root}", f"out={tmp_path / 'run'}", "data.max_bad_fraction=0.2")
    assert ended.code == 2
    assert "more than data.max_bad_fraction allows" in ended.err
    assert "bad_videos.jsonl" in ended.err


def test_loss_that_is_not_finite_stops_with_good_weights(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    out = tmp_path / "run"
    explosive = ["optim={name: sgd, lr: 1e30}", "model.dropout=0", "train.save_every=1"]
    ended = tool("train", *DEMO, f"data.root={motion_videos}", f"out={out}", *explosive)
    assert ended.code == 2
    assert "not finite" in ended.err
    assert "Traceback" not in ended.err
    state = read_checkpoint(out / "checkpoints/last.pt")
    assert all(torch.isfinite(tensor).all() for tensor in state["model"].values())


def test_full_disk_costs_a_checkpoint_not_the_run(
    motion_videos: Path, tmp_path: Path, tool: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_save = torch.save

    def save(value: dict, path: Path) -> None:
        if value["step"] == 3:
            raise OSError(28, os.strerror(28))
        whole_save(value, path)

    monkeypatch.setattr(torch, "save", save)
    ended = tool("train", *DEMO, f"data.root={motion_videos}", f"out={tmp_path / 'run'}", "train.save_every=3")
    assert ended.code == 0, ended.err
    assert "checkpoint of step 3 not written: No space left on device" in ended.out
    assert read_checkpoint(tmp_path / "run/checkpoints/last.pt")["step"] == 8
