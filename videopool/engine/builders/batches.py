"""The batch of a run, from its configuration, the number of processes and the checkpoint that it resumes."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from videopool.config import Config, from_plain
from videopool.config.schema import DEFAULT_BATCH
from videopool.engine.cluster.distributed import World
from videopool.engine.step.split import Split, split_batch


@dataclasses.dataclass(frozen=True)
class Resumed:
    """A checkpoint that a run resumes.

    Attributes:
        state: its content.
        config: its configuration, with the batch of a step in ``train.batch``.
    """

    state: dict[str, Any]
    config: Config

    def norm_clips(self, device: torch.device) -> int:
        """Return how many clips shared batch-norm statistics, if the run was on a ``device`` of this type."""
        return norm_clips(self.config, self.state["processes"], device)


def resume_from(state: dict[str, Any], source: str) -> Resumed:
    """Return the checkpoint with the content ``state``; errors about its configuration name ``source``."""
    config = from_plain(state["config"], source)  # newer keys get their defaults
    return Resumed(state, with_batch(config, state["processes"]))


def with_batch(config: Config, processes: int, resumed: Resumed | None = None) -> Config:
    """Return ``config`` with the batch of a step in ``train.batch``.

    If it is 0, it becomes that of the checkpoint or, without one, ``train.batch_per_device`` on each of ``processes``.
    """
    if config.train.batch:
        return config
    batch = (config.train.batch_per_device or DEFAULT_BATCH) * processes
    if resumed is not None:
        batch = resumed.config.train.batch
    return dataclasses.replace(config, train=dataclasses.replace(config.train, batch=batch))


def split_of(config: Config, processes: int) -> Split:
    """Return how the ``processes`` of a run share the batch of ``config``.

    Raises:
        InputError: if they cannot.
    """
    spec = config.train
    return split_batch(spec.batch, processes=processes, most=spec.batch_per_device, group=spec.norm_batch)


def synchronizes_norms(config: Config, processes: int, device: torch.device) -> bool:
    """Return whether batch norm uses the statistics of a forward pass on all processes."""
    spec = config.train
    return spec.sync_batchnorm and not spec.norm_batch and processes > 1 and device.type == "cuda"


def norm_clips(config: Config, processes: int, device: torch.device) -> int:
    """Return how many clips share batch-norm statistics."""
    return split_of(config, processes).group * (processes if synchronizes_norms(config, processes, device) else 1)


def learning_rate(config: Config) -> float:
    """Return the peak learning rate for the batch of ``config``."""
    meant_for = config.train.lr_scales_with_batch
    return config.optim.lr * config.train.batch / meant_for if meant_for else config.optim.lr


def describe_batch(given: Config, config: Config, model: nn.Module, world: World, resumed: Resumed | None) -> str:
    """Return what the user should know about the batch: its division, the learning rate, and batch norm.

    Args:
        given, config: the configuration as written, and with its batch.
        model: the network.
        world: this process among all.
        resumed: the checkpoint that the run resumes, or None.
    """
    split = split_of(config, world.size)
    lines = [f"batch: {split}"]
    if not given.train.batch and resumed is None:
        lines[0] += f"; set train.batch={split.batch} to keep this batch on any number of processes"
    if config.train.lr_scales_with_batch:
        lines.append(
            f"learning rate: optim.lr={config.optim.lr:g} for {config.train.lr_scales_with_batch} clips is "
            f"{learning_rate(config):g} for {split.batch}"
        )
    if any(isinstance(layer, _BatchNorm) for layer in model.modules()):
        lines += _norm_lines(config, world, resumed)
    return "\n".join(lines)


def _norm_lines(config: Config, world: World, resumed: Resumed | None) -> list[str]:
    """Return how many clips share batch-norm statistics, if that depends on how a step is divided, and warnings."""
    clips, lines = norm_clips(config, world.size, world.device), []
    before = resumed.norm_clips(world.device) if resumed is not None else clips
    if clips == 1:
        lines.append(
            "warning: batch norm uses the statistics of single clips, so the network learns little; raise "
            "train.batch_per_device, or train.batch for the number of processes"
        )
    if clips != before:
        possible = config.train.batch // world.size % before == 0
        hint = f"; set train.norm_batch={before} to keep {before}" if possible else ""
        lines.append(f"warning: batch norm now uses the statistics of {clips} clips instead of {before}{hint}")
    together = bool(config.train.norm_batch) or synchronizes_norms(config, world.size, world.device)
    if not lines and clips < config.train.batch and not together:
        lines.append(
            f"batch norm: statistics of the {clips} clips of a forward pass; set train.norm_batch={clips} to keep them "
            "on any number of processes"
        )
    return lines
