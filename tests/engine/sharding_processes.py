"""``torchrun sharding_processes.py``: sharded steps equal those of DDP, and whole tensors go in and out bit for bit."""

import contextlib

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tests.conftest import same_tensors
from videopool.engine.cluster.distributed import World
from videopool.engine.cluster.sharding import (
    gathered,
    is_sharded,
    local_gradients,
    model_state_for,
    optimizer_state_for,
    shard,
    whole_model,
)
from videopool.engine.optimization.optimizers import build_optimizer, clip_gradients, guarded_step
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
    clips, labels = torch.randn(4 * CLIPS, 3, 6, 8, 8), torch.arange(4 * CLIPS) % 3
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


def check(name: str, world: World) -> None:
    sharded, plain = shard(network(), world), network()
    assert is_sharded(sharded)
    assert not is_sharded(plain)
    wrapped = DistributedDataParallel(plain)
    optimizers = [build_optimizer(model, name, lr=0.05, weight_decay=0.01) for model in (sharded, plain)]
    for number in range(5):
        norms = []
        for model, forward, optimizer in zip((sharded, plain), (sharded, wrapped), optimizers, strict=True):
            torch.manual_seed(number)
            norms.append(step(model, forward, optimizer, world.rank, broken=float(number == 3)))
        torch.testing.assert_close(*norms, rtol=1e-5, atol=0)
        if number == 1:
            state = gathered({"m": sharded.state_dict(), "o": optimizers[0].state_dict()}, keep=True)
            sharded = shard(network(), world)
            optimizers[0] = build_optimizer(sharded, name, lr=0.1, weight_decay=0.1)
            with whole_model(sharded):  # before the first forward pass
                pass
            sharded.load_state_dict(model_state_for(sharded, state["m"]))
            optimizers[0].load_state_dict(optimizer_state_for(optimizers[0], state["o"]))
            again = gathered({"m": sharded.state_dict(), "o": optimizers[0].state_dict()}, keep=True)
            assert same_tensors(state, again)
    state = gathered({"m": sharded.state_dict(), "o": optimizers[0].state_dict()}, keep=True)
    for key, tensor in plain.state_dict().items():
        if "running" not in key and "tracked" not in key:  # DDP takes those of process 0
            torch.testing.assert_close(state["m"][key], tensor, rtol=1e-5, atol=1e-6)
    alone = network()
    alone.load_state_dict(state["m"])
    optimizer = build_optimizer(alone, name, lr=0.1, weight_decay=0.1)
    optimizer.load_state_dict(optimizer_state_for(optimizer, state["o"]))
    assert optimizer.param_groups[0]["fused"]
    assert optimizer.param_groups[0]["lr"] == 0.05
    clips = torch.randn(2, 3, 6, 8, 8, generator=torch.Generator().manual_seed(1))
    sharded.eval(), alone.eval()
    with whole_model(sharded), torch.inference_mode():
        for _ in range(1 + 2 * world.rank):  # other numbers of forward passes on each process
            scores = sharded(clips)
    assert torch.equal(scores, alone(clips))
    assert gathered({"m": sharded.state_dict()}, keep=False)["m"]["head.weight"].numel() == 0


def check_scalar(world: World) -> None:
    model = network()
    model.register_parameter("sharpness", nn.Parameter(torch.tensor(1.0)))
    with pytest.raises(InputError, match="this network cannot be sharded: "):
        shard(model, world)


def main() -> None:
    dist.init_process_group("gloo")
    world = World(dist.get_rank(), dist.get_world_size(), torch.device("cpu"))
    for name in ("sgd", "adamw"):
        check(name, world)
    check_scalar(world)
    dist.destroy_process_group()
    print("passed")


if __name__ == "__main__":
    main()
