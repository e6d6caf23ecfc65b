"""``torchrun ... multigrid_steps.py OUT VIDEOS MOST`` trains a small network in phases and saves its state.

The arithmetic is float64, so that results of different divisions differ only by rounding.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import torch
from torch import nn

from videopool.data import VideoRecord
from videopool.data.augment import Augmentation, Mix
from videopool.data.loading.dataset import TrainClips
from videopool.data.loading.loader import TrainLoader
from videopool.data.sampling import ClipSampling
from videopool.data.transforms import Normalize
from videopool.engine import Update, build_optimizer, connect, disconnect, split_batch
from videopool.engine.optimization.loss import choose_loss
from videopool.engine.optimization.multigrid import LONG_CYCLE, Multigrid, Phase, Shape
from videopool.engine.step.train_step import TrainStep

BATCH, SEED = 4, 5
SAMPLING = ClipSampling(frames=4, stride=2, scale=(32, 36), crop=32, test_scale=32, test_crop=32)
PLAN = Multigrid(
    phases=(
        Phase(0, 1, (Shape(4, 4), LONG_CYCLE[0])),
        Phase(1, 2, (Shape(2, 4), Shape(2, 2), LONG_CYCLE[2])),
        Phase(2, 3, (Shape(1, 4), Shape(1, 2), Shape())),
    ),
    milestones=(2,),
)


def network() -> nn.Module:
    """Return a network of clips of any size."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(3, 6, 3, stride=(1, 2, 2), padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.Dropout3d(0.2),
        nn.Conv3d(6, 8, 3, padding=1), nn.BatchNorm3d(8, momentum=0.3), nn.ReLU(),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 5),
    ).double()  # fmt: skip


def main(out: str, videos: str, most: int) -> None:
    """Train, and save the state of the network and the sizes of the steps."""
    world = connect("cpu", start_timeout=300.0)  # processes start slowly on a busy machine
    split = split_batch(BATCH, processes=world.size, most=most, group=1)
    paths = 3 * sorted(Path(videos, "train").rglob("*.mp4"))
    records = [VideoRecord(path.name, path, number % 5) for number, path in enumerate(paths)]
    smaller = [SAMPLING.smaller(frames=shape.frames, area=shape.area) for shape in PLAN.shapes[1:]]
    loader = TrainLoader(
        TrainClips(records, SAMPLING, seed=SEED, smaller=smaller),
        batch=BATCH, seed=SEED, rank=world.rank, world=world.size, workers=0, passes=split.passes, stages=PLAN.stages,
    )  # fmt: skip
    model = network().train()
    normalize = Normalize((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
    update = Update(
        split=split,
        augment=Augmentation(5, mix=Mix(mixup=0.8, cutmix=1.0)),
        preprocess=lambda clips: normalize(clips).double(),
        lr=0.02,
        schedule=PLAN.rate,
        loss=choose_loss(several_labels=False),
        clip_norm=0.5,
        precision="float32",
        seed=SEED,
        sizes=PLAN.sizes,
    )
    take = TrainStep(model, build_optimizer(model, "sgd", lr=0.1, weight_decay=1e-3), update, world)
    batches, step = [], 0
    for epoch in range(PLAN.epochs):
        clips = loader.batches(epoch)
        for _ in range(loader.steps.count(epoch)):
            size = loader.steps.size(step)
            take(itertools.islice(clips, split.passes), step, loader.steps.progress(step, PLAN.epochs), size)
            batches.append(BATCH * size.times)
            step += 1
    if world.main:
        torch.save({"model": model.state_dict(), "batches": batches}, out)
    disconnect()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
