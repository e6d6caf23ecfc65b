"""Stages that run again in the backward pass change memory, but no gradient and no statistic."""

import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import QUICK, ROOT, same_tensors
from tests.models.small_models import CLASSES, SMALL, clips_for, small
from videopool import models
from videopool.engine.checkpoints.files import read_checkpoint
from videopool.engine.cluster.distributed import World
from videopool.engine.optimization.parameter_groups import stages
from videopool.engine.step.batch_statistics import collect_statistics, divide_statistics, update_running_statistics
from videopool.engine.step.compilation import compile_module
from videopool.engine.step.randomness import StepRandomness
from videopool.engine.step.recompute import Recomputed, checkpoint_stages
from videopool.engine.step.split import Split
from videopool.errors import InputError
from videopool.types import Place

pytestmark = pytest.mark.long

WORLD = World(0, 1, torch.device("cpu"))
NETWORKS = [*SMALL, "resnet"]


def network(name: str, dtype: torch.dtype = torch.float32, **arguments: object) -> nn.Module:
    if name in SMALL:
        return small(name, dropout=0.5, **arguments).to(dtype).train()
    torch.manual_seed(0)
    sizes = {"classes": CLASSES, "frames": 1, "crop": 32, "width": 4, "dropout": 0.5}
    return models.build("resnet", **sizes, **arguments).to(dtype).train()


def clips(name: str, batch: int, dtype: torch.dtype) -> torch.Tensor:
    if name in SMALL:
        return clips_for(name, batch=batch, dtype=dtype)
    return torch.randn(batch, 3, 1, 32, 32, dtype=dtype, generator=torch.Generator().manual_seed(1))


def saved_bytes(model: nn.Module, inputs: torch.Tensor) -> int:
    """Return the bytes that a forward pass keeps for the backward pass, without parameters."""
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    sizes: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = model(inputs)
    del output
    return sum(sizes.values())


def step(model: nn.Module, inputs: torch.Tensor, groups: int = 1) -> dict[str, torch.Tensor]:
    """Return the gradients, output and buffers of a step in two forward passes of ``groups`` groups of clips."""
    randomness = StepRandomness(model, WORLD.device)
    size = len(inputs) // 2
    split = Split(len(inputs), 1, 2, size // groups)
    layers = collect_statistics(model, [split])
    divide_statistics(layers, split)
    result = {}
    for number, part in enumerate(inputs.split(size)):
        randomness.seed(3, 7, Place(number * size, size, 2 * size, size // groups))
        output = model(part)
        output.square().sum().backward()
        result[f"output {number}"] = output.detach()
    update_running_statistics(layers, WORLD, torch.zeros(()))
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {**result, **gradients, **dict(model.named_buffers())}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_and_statistics_are_bit_equal(name: str, dtype: torch.dtype) -> None:
    plain = network(name, dtype)
    recomputed = copy.deepcopy(plain)
    assert checkpoint_stages(recomputed, ["*"])
    inputs = clips(name, 4, dtype)
    reference, found = step(plain, inputs, groups=1), step(recomputed, inputs, groups=1)
    assert found.keys() == reference.keys()
    for key, value in reference.items():
        assert torch.equal(found[key], value), key


def test_statistics_of_groups_are_bit_equal() -> None:
    plain = network("r2plus1d")
    recomputed = copy.deepcopy(plain)
    checkpoint_stages(recomputed, ["*"])
    inputs = clips("r2plus1d", 8, torch.float32)
    reference, found = step(plain, inputs, groups=2), step(recomputed, inputs, groups=2)
    assert all(torch.equal(found[key], value) for key, value in reference.items())


def test_statistics_of_torch_are_counted_once() -> None:
    plain = network("c3d")
    recomputed = copy.deepcopy(plain)
    checkpoint_stages(recomputed, ["*"])
    for model in (plain, recomputed):
        torch.manual_seed(5)
        model(clips("c3d", 2, torch.float32)).sum().backward()
    assert type(recomputed.blocks[0].norm0) is nn.BatchNorm3d
    assert recomputed.blocks[0].norm0.num_batches_tracked == 1
    for (key, value), found in zip(plain.named_buffers(), recomputed.buffers(), strict=True):
        assert torch.equal(found, value), key


def count_runs(model: nn.Module, path: str) -> list[int]:
    runs = []
    model.get_submodule(path).register_forward_pre_hook(lambda *_: runs.append(1))
    return runs


def test_only_the_chosen_stages_run_twice() -> None:
    model = network("r2plus1d")
    assert checkpoint_stages(model, ["blocks.[13]"]) == ("blocks.1", "blocks.3")
    runs = {number: count_runs(model, f"blocks.{number}.res_blocks.0") for number in (1, 2, 3)}
    model(clips("r2plus1d", 2, torch.float32)).sum().backward()
    assert {number: len(each) for number, each in runs.items()} == {1: 2, 2: 1, 3: 2}


def test_evaluation_runs_each_stage_once() -> None:
    model = network("c3d").eval()
    checkpoint_stages(model, ["*"])
    runs = count_runs(model, "blocks.1.conv0")
    with torch.no_grad():
        model(clips("c3d", 2, torch.float32))
    assert len(runs) == 1


@pytest.mark.parametrize("name", SMALL)
def test_activations_need_less_memory(name: str) -> None:
    model, inputs = network(name), clips(name, 2, torch.float32)
    before = saved_bytes(model, inputs)
    checkpoint_stages(model, ["*"])
    assert saved_bytes(model, inputs) < before / 2
    inside = sum(tensor.nbytes for tensor in [inputs])
    assert saved_bytes(model, inputs) >= inside  # the input of a stage counts


def test_names_do_not_change_and_copies_work() -> None:
    plain = network("slowfast")
    recomputed = copy.deepcopy(plain)
    found = checkpoint_stages(recomputed, ["*"])
    assert [*recomputed.state_dict()] == [*plain.state_dict()]
    assert [*stages(recomputed)] == [*stages(plain)] == list(found)
    copied = copy.deepcopy(recomputed)
    assert isinstance(copied.blocks[1], Recomputed)
    assert isinstance(copied.blocks[1], type(plain.blocks[1]))
    copied.load_state_dict(plain.state_dict())
    inputs = clips("slowfast", 2, torch.float32)
    assert torch.equal(copied.eval()(inputs), plain.eval()(inputs))


def test_frozen_normalization_stays_frozen() -> None:
    from videopool.engine.step.freezing import freeze

    model = network("c3d")
    freeze(model, ["blocks.0"])
    model.train()
    checkpoint_stages(model, ["*"])
    before = copy.deepcopy(model.blocks[0].norm0.state_dict())
    model(clips("c3d", 2, torch.float32)).sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in model.blocks[0].norm0.state_dict().items())


class Inplace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act, self.linear = nn.SiLU(inplace=True), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.act(x))


@pytest.mark.parametrize(
    ("build", "patterns", "expected"),
    [
        (lambda: network("c3d"), ["blocks.9"], "'blocks.9' matches no name in the model. Did"),
        (lambda: own_generator("stochastic"), ["*"], "Leave blocks.0 (it has blocks.0.pool) out of"),
        (lambda: own_generator("s3"), ["blocks.1"], "'s3' pooling has its own generator, whose numbers cannot be"),
    ],
)
def test_stages_that_cannot_be_chosen(build: Callable, patterns: list[str], expected: str) -> None:
    model = build()
    with pytest.raises(InputError, match=re.escape(expected)):
        checkpoint_stages(model, patterns)
    assert not any(isinstance(module, Recomputed) for module in model.modules())


def test_stage_that_changes_its_input() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Inplace(), Inplace())
    checkpoint_stages(model, ["1"])
    with pytest.raises(InputError, match="1 changes its input in place, so it cannot run again"):
        model(torch.randn(2, 4))


def own_generator(pooling: str) -> nn.Module:
    return network("c3d", pooling=pooling, pooling_arguments={"generator": torch.Generator()})


@pytest.mark.parametrize("pooling", ["stochastic", "s3"])
def test_random_pooling_is_repeated(pooling: str) -> None:
    plain = network("c3d", pooling=pooling)
    recomputed = copy.deepcopy(plain)
    checkpoint_stages(recomputed, ["*"])
    inputs = clips("c3d", 8, torch.float32)
    reference, found = step(plain, inputs, groups=2), step(recomputed, inputs, groups=2)
    assert all(torch.equal(found[key], value) for key, value in reference.items())


@pytest.mark.slow
def test_compiled_stages_count_statistics_once() -> None:
    torch._dynamo.reset()
    plain = network("c3d", torch.float64, depth=2)
    compiled = copy.deepcopy(plain)
    checkpoint_stages(compiled, ["*"])
    compile_module(compiled, "require")
    inputs = clips("c3d", 8, torch.float64)
    reference, found = step(plain, inputs, groups=2), step(compiled, inputs, groups=2)
    torch._dynamo.reset()
    for key, value in reference.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-12, msg=key)


@pytest.mark.slow
def test_compiled_statistics_of_torch_are_counted_once() -> None:
    torch._dynamo.reset()
    plain = network("c3d", torch.float64, depth=2)
    compiled = copy.deepcopy(plain)
    checkpoint_stages(compiled, ["*"])
    compile_module(compiled, "require")
    for model in (plain, compiled):
        model(clips("c3d", 2, torch.float64)).sum().backward()
    torch._dynamo.reset()
    for (key, value), found in zip(plain.named_buffers(), compiled.buffers(), strict=True):
        torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-12, msg=key)


def test_training_is_the_same(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    states = []
    for name, chosen in (("plain", "[]"), ("recomputed", "['*']")):
        changed = [f"data.root={motion_videos}", f"out={tmp_path / name}", "model.dropout=0.5", "train.norm_batch=2"]
        changed += ["train.batch_per_device=2", f"model.checkpoint_activations={chosen}"]
        ended = tool("train", "--config", ROOT / "configs/demo.yaml", *QUICK, *changed)
        assert ended.code == 0, ended.err
        states.append(read_checkpoint(tmp_path / name / "checkpoints/last.pt"))
    assert same_tensors(states[0]["model"], states[1]["model"])
    assert same_tensors(states[0]["optimizer"], states[1]["optimizer"])


def test_dropped_paths_are_the_same_in_both_runs() -> None:
    plain = network("r2plus1d")
    models.add_drop_path(plain, 0.5)
    recomputed = copy.deepcopy(plain)
    checkpoint_stages(recomputed, ["*"])
    inputs = clips("r2plus1d", 8, torch.float32)
    reference, found = step(plain, inputs), step(recomputed, inputs)
    assert all(torch.equal(found[key], value) for key, value in reference.items())


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_train_the_same(sharding: str, motion_videos: Path, tmp_path: Path) -> None:
    states = []
    for name, chosen in (("plain", "[]"), ("recomputed", "['*']")):
        changed = [f"data.root={motion_videos}", f"out={tmp_path / name}", "model.dropout=0.5", "train.norm_batch=1"]
        changed += ["train.batch_per_device=1", f"train.sharding={sharding}", f"model.checkpoint_activations={chosen}"]
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        command += [str(ROOT / "tools/train.py"), "--config", str(ROOT / "configs/demo.yaml"), *QUICK, *changed]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        subprocess.run([*command, "train.epochs=1", "optim.warmup_epochs=0"], check=True, env=environment)
        states.append(read_checkpoint(tmp_path / name / "checkpoints/last.pt"))
    assert same_tensors(states[0]["model"], states[1]["model"])
    assert same_tensors(states[0]["optimizer"], states[1]["optimizer"])
