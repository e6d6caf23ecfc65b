"""The batch of a run: what its configuration, the number of processes and a checkpoint say about it."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from videopool.config import Config
from videopool.config.schema import DEFAULT_BATCH
from videopool.engine.step.split import Split, split_batch


def with_batch(config: Config, processes: int, state: dict[str, Any] | None, then: Config | None) -> Config:
    """Return ``config`` with the batch of a step in ``train.batch``, if it is 0.

    Args:
        config: of this run.
        processes: of this run.
        state, then: the checkpoint that it resumes, whose batch it keeps, and the configuration in it.
    """
    if config.train.batch:
        return config
    batch = (config.train.batch_per_device or DEFAULT_BATCH) * processes
    if state is not None and then is not None:
        batch = with_batch(then, state["processes"], None, None).train.batch
    return dataclasses.replace(config, train=dataclasses.replace(config.train, batch=batch))


def split_of(config: Config, processes: int) -> Split:
    """Return how the ``processes`` of a run share the batch of ``config``.

    Raises:
        InputError: if they cannot.
    """
    spec = config.train
    return split_batch(spec.batch, processes=processes, most=spec.batch_per_device, group=spec.norm_batch)


def learning_rate(config: Config) -> float:
    """Return the peak learning rate for the batch of ``config``."""
    meant_for = config.train.lr_scales_with_batch
    return config.optim.lr * config.train.batch / meant_for if meant_for else config.optim.lr


def describe_batch(
    given: Config, config: Config, split: Split, model: nn.Module, state: dict[str, Any] | None, then: Config | None
) -> str:
    """Return what the user should know about the batch: its division, the learning rate, and batch norm.

    Args:
        given, config: the configuration as written, and with its batch.
        split: how a step is divided.
        model: the network.
        state, then: the checkpoint that is resumed and its configuration, or None.
    """
    lines = [f"batch: {split}"]
    if not given.train.batch and state is None:
        lines[0] += f"; train.batch is not set, set train.batch={split.batch} to keep it on any number of processes"
    if config.train.lr_scales_with_batch:
        lines.append(
            f"learning rate: optim.lr={config.optim.lr:g} for {config.train.lr_scales_with_batch} clips is "
            f"{learning_rate(config):g} for {split.batch}"
        )
    normalizes = any(isinstance(layer, _BatchNorm) for layer in model.modules())
    if normalizes and split.group == 1:
        lines.append(
            "warning: batch norm uses the statistics of single clips, which trains badly; raise "
            "train.batch_per_device, or train.batch for the number of processes"
        )
    if normalizes and state is not None and then is not None:
        before = split_of(with_batch(then, state["processes"], None, None), state["processes"]).group
        if before != split.group:
            lines.append(
                f"warning: batch norm now uses the statistics of {split.group} clips instead of {before}; to keep "
                f"{before}, set train.norm_batch={before}, which must divide the clips of a process"
            )
    return "\n".join(lines)
