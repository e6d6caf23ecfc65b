"""A step whose loss is not finite: what the error says, what is saved, and that it is repeated exactly."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import QUICK, ROOT, finish
from videopool.engine.checkpoints.files import read_checkpoint
from videopool.engine.checkpoints.replay import LayerValues
from videopool.engine.optimization import loss

pytestmark = pytest.mark.long

EXPLOSIVE = ["optim={name: sgd, lr: 1e30, warmup_epochs: 0, clip_norm: 0}", "model.dropout=0"]


def arguments(videos: Path, out: Path, *further: str) -> list[str]:
    config = ["--config", str(ROOT / "configs/demo.yaml"), *QUICK, f"data.root={videos}", f"out={out}"]
    return [*config, "train.evaluate_every=0", "train.log_every=4", *further]


class Recorder:
    """Keeps the logits of every forward pass, and makes the loss of pass ``broken`` (from 1) infinite."""

    def __init__(self, broken: int) -> None:
        self.broken = broken
        self.logits: list[torch.Tensor] = []
        self._original = nn.functional.cross_entropy

    def __call__(self, logits: torch.Tensor, target: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
        self.logits.append(logits.detach().clone())
        value = self._original(logits, target, label_smoothing=label_smoothing)
        return value * float("inf") if len(self.logits) == self.broken else value


@pytest.mark.parametrize("per_device", [4, 2])
def test_replay_repeats_the_failed_step_bit_for_bit(
    per_device: int, motion_videos: Path, tmp_path: Path, tool: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = arguments(motion_videos, tmp_path, "train.batch=4", f"train.batch_per_device={per_device}")
    passes = 4 // per_device
    training = Recorder(broken=5 * passes + 1)  # in step 6, which is noticed when step 8 is logged
    monkeypatch.setattr(loss.functional, "cross_entropy", training)
    ended = tool("train", *run)
    assert ended.code == 2
    assert "the loss or the gradient is not finite in step 6 (learning rate 0.0006173, videos " in ended.err
    assert f"Repeat the step and find the layer with --replay {tmp_path / 'failed-step-0000006.pt'}." in ended.err
    saved = read_checkpoint(tmp_path / "failed-step-0000006.pt")
    assert saved["step"] == 5
    assert saved["failed"]["step"] == 6
    assert all(f"{name}," in ended.err or f"{name})" in ended.err for name in saved["failed"]["videos"])
    assert len(training.logits) == 8 * passes

    replayed = Recorder(broken=0)
    monkeypatch.setattr(loss.functional, "cross_entropy", replayed)
    before = sorted(tmp_path.rglob("*"))
    again = tool("train", *run, "--replay", tmp_path / "failed-step-0000006.pt")
    assert again.code == 0, again.err
    assert len(replayed.logits) == passes
    for found, expected in zip(replayed.logits, training.logits[5 * passes :], strict=False):
        assert torch.equal(found, expected)
    assert f"step 6: learning rate {saved['failed']['lr']:.6g}, 4 clips in {passes} forward passes" in again.out
    assert "the outputs of all layers and their gradients are finite" in again.out
    assert sorted(tmp_path.rglob("*")) == before  # nothing is written


def test_replay_names_the_first_layer(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    run = arguments(motion_videos, tmp_path, *EXPLOSIVE, "train.log_every=1")
    ended = tool("train", *run)
    assert "not finite in step 2 (learning rate 9.619e+29" in ended.err
    assert "there is no earlier checkpoint. Lower optim.lr" in ended.err
    again = tool("train", *run, "--replay", tmp_path / "failed-step-0000002.pt")
    assert again.code == 0, again.err
    assert "first output that is not finite, in forward pass 1" in again.out
    last = again.out.splitlines()[-1]
    assert "values are not finite" in last
    assert "(" in last  # the class of the layer
    assert not any("not finite" in line for line in again.out.splitlines()[3:-1])


def test_replay_of_other_settings_is_refused(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    run = arguments(motion_videos, tmp_path, *EXPLOSIVE)
    tool("train", *run)
    ended = tool("train", *run, "train.seed=3", "--replay", tmp_path / "failed-step-0000002.pt")
    assert ended.code == 2
    assert "train.seed was 0, now 3" in ended.err
    ended = tool("train", *run, "--replay", tmp_path / "missing.pt")
    assert ended.code == 2
    assert "No such file" in ended.err


@pytest.mark.slow
def test_step_of_two_processes_is_replayed_on_one(
    motion_videos: Path, tmp_path: Path, process: Callable, tool: Callable
) -> None:
    run = arguments(motion_videos, tmp_path, *EXPLOSIVE, "train.batch=8", "train.batch_per_device=2")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    ended = finish(process("train", *run, launcher=launcher))
    assert ended.code != 0
    assert "not finite in step 2" in ended.err
    assert "and 4 more" in ended.err
    failed = read_checkpoint(tmp_path / "failed-step-0000002.pt")["failed"]
    assert len(failed["videos"]) == 8
    again = tool("train", *run, "--replay", tmp_path / "failed-step-0000002.pt")
    assert again.code == 0, again.err
    assert "8 clips in 4 forward passes" in again.out
    assert f"videos {', '.join(failed['videos'][:4])} and 4 more" in again.out
    assert "first output that is not finite" in again.out


class Root(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sqrt()


def test_layer_values_of_outputs_and_gradients() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(inplace=True), Root())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    with LayerValues(model) as values:
        model(torch.tensor([[4.0, 1.0]])).sum().backward()  # relu(-1) = 0, where the root has an infinite slope
    layers = ["0 (Linear)", "1 (ReLU)", "2 (Root)", "network (Sequential)"]
    assert [row.layer for row in values.outputs] == layers
    assert [row.largest for row in values.outputs] == [4, 4, 2, 2]
    assert not any(row.broken for row in values.outputs)
    broken = [row for row in values.gradients if row.broken]
    assert broken[0].layer == "1 (ReLU)"
    assert (broken[0].broken, broken[0].largest, broken[0].shape) == (1, 0.25, (1, 2))
    with LayerValues(model) as values:
        model(torch.tensor([[float("inf"), 1.0]]))
    assert [row.broken for row in values.outputs] == [2, 2, 2, 2]  # inf * 0 is NaN, also in a ReLU
    count = len(values.outputs)
    model(torch.ones(1, 2))
    assert len(values.outputs) == count  # the hooks are removed
    assert json.dumps(str(values.outputs[1])) == '"1 (ReLU) [1, 2]: largest 0, 2 of 2 values are not finite"'
