"""Statistics of batch normalization that are computed for fixed weights."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import QUICK, ROOT, same_tensors
from tests.models.small_models import SMALL, clips_for, small
from videopool.engine.checkpoints.files import read_checkpoint
from videopool.engine.cluster.distributed import World
from videopool.engine.step.batch_statistics import collect_statistics
from videopool.engine.step.freezing import freeze
from videopool.engine.step.precise_norm import recompute_statistics
from videopool.engine.step.split import Split

pytestmark = pytest.mark.long

WORLD = World(0, 1, torch.device("cpu"))


def norms(model: nn.Module) -> list[nn.BatchNorm3d]:
    return [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm3d)]


def inputs(name: str, count: int, batch: int = 2) -> list[torch.Tensor]:
    return list(clips_for(name, batch=count * batch, dtype=torch.float64).split(batch))


@pytest.mark.parametrize("name", SMALL)
def test_statistics_are_those_of_fvcore(name: str) -> None:
    precise_bn = pytest.importorskip("fvcore.nn.precise_bn")
    model = small(name).double()
    theirs = copy.deepcopy(model).eval()
    for layer in norms(theirs):
        layer.train()
    clips = inputs(name, 3)
    precise_bn.update_bn_stats(theirs, clips, num_iters=3)
    recompute_statistics(model, clips, WORLD)
    for found, expected in zip(norms(model), norms(theirs), strict=True):
        # float64 sums of at most 10**5 values: 10**5 * 2**-53
        torch.testing.assert_close(found.running_mean, expected.running_mean, rtol=1e-10, atol=1e-11)
        torch.testing.assert_close(found.running_var, expected.running_var, rtol=1e-10, atol=1e-11)


def test_first_layer_has_the_moments_of_all_values() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.BatchNorm3d(3), nn.Dropout(0.5)).train(), torch.randn(8, 3, 2, 4, 5) * 3 + 7
    recompute_statistics(model, x.split(2), WORLD)
    values = x.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(model[0].running_mean.double(), values.mean(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(model[0].running_var.double(), values.var(1, correction=0), rtol=1e-6, atol=0)
    assert model.training
    assert model[0].num_batches_tracked == 0


def test_groups_are_normalized_by_themselves() -> None:
    whole = small("c3d").double()
    divided, collecting = copy.deepcopy(whole), copy.deepcopy(whole)
    collect_statistics(collecting, [Split(8, 1, 1, 2)])
    clips = inputs("c3d", 4)
    recompute_statistics(whole, clips, WORLD)
    for model in (divided, collecting):
        recompute_statistics(model, [torch.cat(clips[:2]), torch.cat(clips[2:])], WORLD, parts=2)
        for found, expected in zip(norms(model), norms(whole), strict=True):
            torch.testing.assert_close(found.running_mean, expected.running_mean, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(found.running_var, expected.running_var, rtol=1e-10, atol=1e-12)
    assert not any(layer.collected.any() for layer in norms(collecting))
    recompute_statistics(divided, [torch.cat(clips)], WORLD)
    assert not torch.allclose(norms(divided)[1].running_var, norms(whole)[1].running_var, rtol=1e-6)


def test_frozen_layers_and_weights_do_not_change() -> None:
    model = small("c3d").double()
    freeze(model, ["blocks.0"])
    before = copy.deepcopy(model.state_dict())
    recompute_statistics(model.eval(), inputs("c3d", 2), WORLD)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    expected = {f"blocks.{number}.norm0.running_{kind}" for number in (1, 2, 3) for kind in ("mean", "var")}
    assert changed == expected
    assert not any(layer.training for layer in model.modules())


def test_network_without_batch_normalization_reads_nothing() -> None:
    def unread() -> object:
        raise AssertionError
        yield

    recompute_statistics(nn.Linear(2, 2), unread(), WORLD)


def train(tool: Callable, videos: Path, out: Path, *overrides: str) -> dict:
    changed = [f"data.root={videos}", f"out={out}", *overrides]
    ended = tool("train", "--config", ROOT / "configs/demo.yaml", *QUICK, *changed)
    assert ended.code == 0, ended.err
    return read_checkpoint(out / "checkpoints/last.pt")


def test_training_does_not_change(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    plain = train(tool, motion_videos, tmp_path / "plain")
    precise = train(tool, motion_videos, tmp_path / "precise", "train.precise_norm=3")
    running = {name for name in plain["model"] if "running" in name}
    assert same_tensors(precise["optimizer"], plain["optimizer"])
    for name, value in plain["model"].items():
        assert torch.equal(precise["model"][name], value) == (name not in running), name


@pytest.mark.slow
def test_statistics_are_equal_for_any_number_of_processes(motion_videos: Path, tmp_path: Path) -> None:
    states = []
    for processes, most in ((1, 0), (2, 0), (1, 2)):
        out = tmp_path / f"{processes}-{most}"
        overrides = [f"data.root={motion_videos}", f"out={out}", "train.precise_norm=3", "train.norm_batch=2"]
        overrides += [f"train.batch_per_device={most}", "train.epochs=1", "optim.warmup_epochs=0", "optim.lr=1e-9"]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        command = [sys.executable, *(launcher if processes > 1 else []), str(ROOT / "tools/train.py")]
        command += ["--config", str(ROOT / "configs/demo.yaml"), *QUICK, *overrides]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        states.append(read_checkpoint(out / "checkpoints/last.pt")["model"])
    for found in states[1:]:
        for name, value in states[0].items():
            if "running" in name:
                torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)
