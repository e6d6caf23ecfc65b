"""``torchrun ... divided_steps.py OUT BATCH MOST GROUP [COMPILE]`` trains a small network for some steps and saves it.

COMPILE is a backend of ``torch.compile``.

The arithmetic is float64, so that results of different divisions differ only by rounding.
"""

from __future__ import annotations

import functools
import sys

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from videopool.data.augment import Augmentation, Erase, Mix, RandAugment
from videopool.data.transforms import Normalize
from videopool.engine import Update, World, build_optimizer, connect, disconnect, split_batch
from videopool.engine.optimization.loss import choose_loss
from videopool.engine.step.compilation import compiled_graphs
from videopool.engine.step.train_step import TrainStep
from videopool.pooling import S3Pool, SoftPool
from videopool.types import Batch

CLASSES, STEPS = 5, 4


def network() -> nn.Module:
    """Return a 3D network with every kind of layer whose results could depend on the division."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(3, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), SoftPool(3, 2), nn.Dropout3d(0.2),
        nn.Conv3d(6, 8, 3, padding=1), nn.BatchNorm3d(8, momentum=0.3), nn.ReLU(), S3Pool(3, 2),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, CLASSES),
    ).double()  # fmt: skip


def clips_of(step: int, batch: int) -> Batch:
    """Return the clips of a step, over all processes."""
    random = torch.Generator().manual_seed(step)
    numbers = torch.arange(batch)
    clips = torch.randint(0, 256, (batch, 3, 4, 16, 16), dtype=torch.uint8, generator=random)
    return Batch(clips, torch.randint(0, CLASSES, (batch,), generator=random), numbers, numbers * 0, numbers < 0)


def main(out: str, batch: int, most: int, group: int, backend: str) -> None:
    """Train, and save the state of the network and the logged sums."""
    nn.Module.compile = functools.partialmethod(nn.Module.compile, backend=backend)  # type: ignore[method-assign]
    world = connect("cpu", start_timeout=300.0)  # processes start slowly on a busy machine
    split = split_batch(batch, processes=world.size, most=most, group=group)
    model = network().train()
    normalize = Normalize((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
    augment = Augmentation(CLASSES, rand_augment=RandAugment(1, 5.0), erase=Erase(0.5), mix=Mix(mixup=0.8, cutmix=1.0))
    update = Update(
        split=split,
        augment=augment,
        preprocess=lambda clips: normalize(clips).double(),
        lr=0.1,
        schedule=lambda progress: 1.0 - progress,
        loss=choose_loss(several_labels=False, label_smoothing=0.1),
        clip_norm=0.5,
        precision="float32",
        seed=7,
        compile="require" if backend else "none",
    )
    take = TrainStep(model, build_optimizer(model, "sgd", lr=0.1, weight_decay=1e-3), update, world)
    for step in range(STEPS):
        share = [clips_of(step, batch).split(split.size)[n] for n in own_passes(world.rank, split.passes)]
        take(share, step, step / STEPS)
    assert compiled_graphs() == bool(backend)
    sums = take.sums.read(world)
    _check_buffers(take, world)
    if world.main:
        torch.save({"model": model.state_dict(), "sums": {name: sums[name] for name in ("loss", "grad_norm")}}, out)
    disconnect()


def _check_buffers(take: TrainStep, world: World) -> None:
    """Check that all processes have the same buffers, which no process sent to others."""
    if isinstance(take.forward, DistributedDataParallel):
        assert not take.forward.broadcast_buffers
    for state in world.gather(dict(take.model.named_buffers())):
        for name, value in take.model.named_buffers():
            assert torch.equal(state[name], value), name


def own_passes(rank: int, passes: int) -> range:
    """Return the numbers of the forward passes of a process among those of all processes."""
    return range(rank * passes, (rank + 1) * passes)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]), backend="".join(sys.argv[5:]))
