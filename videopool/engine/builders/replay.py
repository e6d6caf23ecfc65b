"""A run that repeats the step after a checkpoint, such as a step that failed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from videopool.config import Config, from_plain
from videopool.engine.builders.training import TrainingRun, build_training
from videopool.engine.checkpoints.files import read_checkpoint
from videopool.engine.cluster.distributed import World
from videopool.engine.cluster.stop import StopRequest
from videopool.errors import InputError


def build_replay(config: Config, path: Path, world: World, *, trust: bool = False) -> TrainingRun:
    """Build the run of ``config`` at the step after the checkpoint at ``path``, and write no file.

    The step is divided as the processes of the run divided it, into the same forward passes.

    Raises:
        InputError: if the checkpoint cannot be read or belongs to other settings, or if there are several processes.
    """
    if world.size > 1:
        raise InputError(f"--replay repeats a step on one process, not on {world.size}; start it without torchrun")
    then = from_plain(read_checkpoint(path)["config"], f"the config in {path}").train
    train = dataclasses.replace(
        config.train,
        resume=str(path),
        batch=then.batch,
        batch_per_device=then.batch_per_device,
        norm_batch=then.norm_batch,
        compile="none",  # compiled code does not call the hooks of layers
        sharding="none",
    )
    data = dataclasses.replace(config.data, workers=0)
    repeated = dataclasses.replace(config, train=train, data=data)
    return build_training(repeated, world, StopRequest(), dry=True, trust=trust)
