"""The multigrid schedule of a configuration, and the clips that it needs."""

from __future__ import annotations

import torch
from torch import nn

from videopool.config import Config
from videopool.data.sampling import ClipSampling
from videopool.engine.builders.parts import clip_sampling
from videopool.engine.optimization.multigrid import Multigrid, plan_multigrid
from videopool.errors import InputError
from videopool.pooling.observe import observe


def multigrid_of(config: Config) -> Multigrid | None:
    """Return the schedule of ``train.multigrid``; None without it."""
    spec = config.train
    if spec.multigrid == "none":
        return None
    milestones = config.optim.milestones if config.optim.schedule == "multistep" else ()
    return plan_multigrid(spec.multigrid, epochs=spec.epochs, milestones=milestones, epoch_factor=spec.multigrid_epochs)


def epochs_of(config: Config) -> int:
    """Return the epochs of the training."""
    multigrid = multigrid_of(config)
    return config.train.epochs if multigrid is None else multigrid.epochs


def smaller_clips(config: Config) -> tuple[ClipSampling, ...]:
    """Return how clips of shape 1, 2, ... of the schedule are sampled; empty without one."""
    multigrid = multigrid_of(config)
    shapes = () if multigrid is None else multigrid.shapes[1:]
    return tuple(clip_sampling(config).smaller(frames=shape.frames, area=shape.area) for shape in shapes)


def check_shapes(config: Config, model: nn.Module) -> None:
    """Run ``model`` on a clip of each shape, without arithmetic if possible.

    Raises:
        InputError: if it does not take a shape; the message names the smallest one.
    """
    for sampling in sorted(smaller_clips(config), key=lambda sampling: (sampling.frames, sampling.crop)):
        size = (sampling.frames, sampling.crop, sampling.crop)
        try:
            observe(model, torch.empty(1, 3, *size, device="meta"))
        except InputError as error:
            raise InputError(
                f"train.multigrid={config.train.multigrid} trains on clips of {size[0]} frames of {size[1]}x{size[2]} "
                f"pixels, which the network does not take: {error}"
            ) from error
