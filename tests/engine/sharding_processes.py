"""``torchrun sharding_processes.py FOLDER``: sharded steps equal those of DDP, and checkpoints in FOLDER hold them.

Of their checkpoints, all bits return. A process that cannot write, or hangs, is reported by all.

``torchrun sharding_processes.py ONE OTHER ...`` reads the checkpoint ONE, and writes it to OTHER; and so on.
"""

import contextlib
import dataclasses
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tests.conftest import file_size_limit, same_tensors
from tests.engine.divided_steps import clips_of
from tests.engine.divided_steps import network as divided_network
from tests.engine.test_checkpoint import state as plain_state
from tests.engine.test_step import step_of
from videopool.engine.checkpoints import shards
from videopool.engine.checkpoints.files import CheckpointFolder, read_checkpoint, read_parts
from videopool.engine.checkpoints.writer import CheckpointWriter, SaveError
from videopool.engine.cluster.distributed import World
from videopool.engine.cluster.sharding import (
    is_sharded,
    local_gradients,
    model_state_for,
    optimizer_state_for,
    shard,
    whole,
    whole_model,
)
from videopool.engine.optimization.optimizers import build_optimizer, clip_gradients, guarded_step
from videopool.engine.step.averaging import WeightAverage, moving_average
from videopool.engine.step.split import split_batch
from videopool.engine.step.train_step import TrainStep
from videopool.errors import InputError

CLIPS = 2  # of a forward pass


def network() -> nn.Module:
    """3 stages, one in a list; weights whose first axis no number of processes divides."""
    torch.manual_seed(0)

    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stages = nn.ModuleList(
                [nn.Sequential(nn.Conv3d(3, 7, 3, bias=False), nn.BatchNorm3d(7), nn.ReLU()), nn.Conv3d(7, 5, 3)]
            )
            self.head = nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for stage in self.stages:
                x = stage(x)
            return self.head(x.mean((2, 3, 4)))  # type: ignore[no-any-return]

    return Listed()


def step(model: nn.Module, forward: nn.Module, optimizer: torch.optim.Optimizer, rank: int, broken: float) -> float:
    """Do a step of two forward passes, and return the norm of the gradient."""
    model.train()
    optimizer.zero_grad()
    dtype = next(model.parameters()).dtype
    clips, labels = torch.randn(16 * CLIPS, 3, 6, 8, 8).to(dtype), torch.arange(16 * CLIPS) % 3
    for number in range(2):
        local: contextlib.AbstractContextManager = contextlib.nullcontext()
        if number == 0:
            local = forward.no_sync() if isinstance(forward, DistributedDataParallel) else local_gradients(model)
        own = slice((2 * rank + number) * CLIPS, (2 * rank + number + 1) * CLIPS)
        with local:
            (nn.functional.cross_entropy(forward(clips[own]), labels[own]) / 2).backward()
    norm = clip_gradients(model, clip_norm=0.5)
    guarded_step(optimizer, torch.tensor(broken))
    return float(norm)


def state(
    model: nn.Module, optimizer: torch.optim.Optimizer, step: int = 1, average: WeightAverage | None = None
) -> dict:
    averaged = average.state() if average is not None else {}
    return {**plain_state(step), "model": model.state_dict(), "optimizer": optimizer.state_dict(), **averaged}


def restore(
    model: nn.Module, optimizer: torch.optim.Optimizer, path: Path, average: WeightAverage | None = None
) -> None:
    """Read the own parts of the checkpoint at ``path``, as ``Trainer.restore`` does."""
    found = read_checkpoint(path, whole=not is_sharded(model))
    parts = {
        "model": model_state_for(model, found["model"]),
        "optimizer": optimizer_state_for(optimizer, found["optimizer"]),
    }
    if average is not None:
        parts["averaged"] = model_state_for(average.network, found["averaged"])
    read_parts(parts, found)
    model.load_state_dict(parts["model"])
    optimizer.load_state_dict(parts["optimizer"])
    if average is not None:
        average.restore({**found, **parts})


def averaged_network(world: World | None) -> tuple[nn.Module, WeightAverage]:
    """Return a network and its average, divided among the processes of ``world`` unless it is None."""
    model = network().double()
    average = WeightAverage(model, moving_average(0.5))
    for each in (model, average.network) if world is not None else ():
        shard(each, world)
    return model, average


def check(name: str, world: World, folder: Path, writer: CheckpointWriter) -> None:
    """Steps in float64, in which rounding is far below the tolerances."""
    (sharded, average), (plain, plain_average) = averaged_network(world), averaged_network(None)
    assert is_sharded(sharded)
    assert not is_sharded(plain)
    wrapped = DistributedDataParallel(plain)
    optimizers = [build_optimizer(model, name, lr=0.05, weight_decay=0.01) for model in (sharded, plain)]
    for number in range(5):
        norms, broken = [], float(number == 3)
        for model, forward, optimizer in zip((sharded, plain), (sharded, wrapped), optimizers, strict=True):
            torch.manual_seed(number)
            norms.append(step(model, forward, optimizer, world.rank, broken=broken))
        torch.testing.assert_close(*norms, rtol=1e-9, atol=0)
        for each in (average, plain_average):
            each.update(number + 1, torch.tensor(broken))
        if number == 1:
            writer.write(folder / f"{name}-1.pt", state(sharded, optimizers[0], average=average))
            sharded, average = averaged_network(world)
            optimizers[0] = build_optimizer(sharded, name, lr=0.1, weight_decay=0.1)
            with whole_model(sharded):  # before the first forward pass
                pass
            restore(sharded, optimizers[0], folder / f"{name}-1.pt", average)
            writer.write(folder / f"{name}-2.pt", state(sharded, optimizers[0], average=average))
            same = (read_checkpoint(folder / f"{name}-{number}.pt") for number in (1, 2))
            assert same_tensors(*same)
    writer.write(folder / f"{name}.pt", state(sharded, optimizers[0], average=average))
    found = read_checkpoint(folder / f"{name}.pt")
    assert found["averages"] == 5
    for part, expected in (("model", plain), ("averaged", plain_average.network)):
        for key, tensor in expected.state_dict().items():
            if "running" not in key and "tracked" not in key:  # DDP takes those of process 0
                torch.testing.assert_close(found[part][key], tensor, rtol=1e-9, atol=1e-10)
    alone = network().double()
    optimizer = build_optimizer(alone, name, lr=0.1, weight_decay=0.1)
    restore(alone, optimizer, folder / f"{name}.pt")
    assert optimizer.param_groups[0].get("fused") == optimizers[1].param_groups[0].get("fused")
    assert same_tensors(alone.state_dict(), dict(found["model"]))
    assert optimizer.param_groups[0]["lr"] == 0.05
    clips = torch.randn(2, 3, 6, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    restore(sharded, optimizers[0], folder / f"{name}.pt")  # with the running statistics of the main process
    sharded.eval(), alone.eval()
    with whole_model(sharded), torch.inference_mode():
        for _ in range(1 + 2 * world.rank):  # other numbers of forward passes on each process
            scores = sharded(clips)
    assert torch.equal(scores, alone(clips))
    alone.load_state_dict(found["averaged"])
    restore(sharded, optimizers[0], folder / f"{name}.pt", average)
    with whole_model(average.network), torch.inference_mode():
        assert torch.equal(average.network(clips), alone(clips))


def check_float16(world: World) -> None:
    """Sharded steps are those of DDP, also one that is left out because a gradient overflows on one process."""
    models = [divided_network().float().train() for _ in range(2)]
    shard(models[0], world)
    update = dataclasses.replace(
        step_of(divided_network().float()).update, split=split_batch(8, processes=2, group=4), precision="float16"
    )
    steps = [
        TrainStep(model, build_optimizer(model, "adamw", lr=0.01, weight_decay=0.0), update, world) for model in models
    ]
    loss = update.loss
    scales = []
    for number in range(4):  # the first scale is too large on both processes
        clips = clips_of(number, 8).split(4)[world.rank]
        for each in steps:
            overflows = number == 2 and world.rank == 1
            each.objective.loss = (lambda *given: loss(*given) * 1e9) if overflows else loss
            each([clips], number, number / 4)
            assert not each.broken
        scales.append([each.scaler.get_scale() for each in steps])
        for one, other in zip(*(model.parameters() for model in models), strict=True):
            torch.testing.assert_close(whole(one), other, rtol=1e-5, atol=1e-6)
    assert scales == [[2.0**power] * 2 for power in (15, 15, 14, 14)]


def check_scalar(world: World) -> None:
    model = network()
    model.register_parameter("sharpness", nn.Parameter(torch.tensor(1.0)))
    with pytest.raises(InputError, match="this network cannot be sharded: "):
        shard(model, world)


def check_failure(world: World, writer: CheckpointWriter) -> None:
    """A process that cannot write is named on all; its save leaves nothing, and the next one succeeds."""
    model = shard(nn.Sequential(nn.Linear(100, 400)), world)
    optimizer = build_optimizer(model, "sgd", lr=0.1, weight_decay=0.0)
    writer.save(state(model, optimizer, 1))
    writer.wait()
    before = read_checkpoint(writer.folder.last)
    dist.barrier()
    with file_size_limit(10_000) if world.rank == 1 else contextlib.nullcontext():
        writer.save(state(model, optimizer, 2))
        with pytest.raises(SaveError, match=r"step 2 could not be written: File too large \(process 1 on "):
            writer.wait()
    if world.main:
        assert {path.name for path in writer.folder.folder.iterdir()} == {
            *("step-0000001.pt", "step-0000001.pt.sha256", "step-0000001.shards", "last.pt", "last.pt.sha256")
        }
    assert same_tensors(read_checkpoint(writer.folder.last), before)
    dist.barrier()
    writer.save(state(model, optimizer, 3))
    writer.wait()
    assert read_checkpoint(writer.folder.last)["step"] == 3


def check_hang(world: World, folder: Path) -> None:
    """If a process hangs while it writes, the others wait for it for the timeout of the run only."""
    hurried = World(world.rank, world.size, world.device, timeout=2.0)
    writer = CheckpointWriter(CheckpointFolder(folder / "hang", keep=2), hurried, sharded=True)
    model = shard(network(), world)
    if world.rank == 1:
        shards.sync_folder = lambda folder: time.sleep(10)
    writer.save(state(model, build_optimizer(model, "sgd", lr=0.1, weight_decay=0.0)))
    began = time.monotonic()
    expected = (InputError, "within train.timeout") if world.main else (RuntimeError, "gloo")
    with pytest.raises(expected[0], match=expected[1]):
        writer.wait()
    assert world.rank == 1 or time.monotonic() - began < 9
    assert not (folder / "hang/last.pt").exists()


def write_again(one: Path, other: Path, world: World, writer: CheckpointWriter) -> None:
    """Write the checkpoint ``one`` to ``other``, or a new one if it does not exist."""
    model = shard(network(), world)
    optimizer = build_optimizer(model, "adamw", lr=0.05, weight_decay=0.01)
    if one.exists():
        restore(model, optimizer, one)
    else:
        step(model, model, optimizer, world.rank, broken=0.0)
    writer.write(other, state(model, optimizer))


def main() -> None:
    dist.init_process_group("gloo")
    world = World(dist.get_rank(), dist.get_world_size(), torch.device("cpu"))
    folder, *others = map(Path, sys.argv[1:])
    writer = CheckpointWriter(CheckpointFolder(folder / "checkpoints", keep=2), world, sharded=True)
    if others:
        paths = [folder, *others]
        for one, other in zip(paths[::2], paths[1::2], strict=True):
            write_again(one, other, world, writer)
    else:
        for name in ("sgd", "adamw", "lars", "lamb"):
            check(name, world, folder, writer)
        check_float16(world)
        check_scalar(world)
        check_failure(world, writer)
        check_hang(world, folder)
    dist.destroy_process_group()
    print("passed")


if __name__ == "__main__":
    main()
