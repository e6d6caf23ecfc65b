"""Batch normalization whose running statistics do not depend on how a step is divided.

Torch updates the running statistics in every forward pass, from the clips of that pass, separately on each process.
Here they are updated once in a step, from the mean of the statistics of all groups of clips on all processes: ::

    step of 12 clips, 2 processes, 2 forward passes of 3 clips, groups of 3
    0 1 2 | 3 4 5 || 6 7 8 | 9 10 11      running = (1 - momentum) * running + momentum * mean of 4 statistics

A clip is still normalized with the statistics of its group. Groups smaller than a forward pass are the "sub-batch
statistics" of multigrid training (Wu, Girshick, He, Feichtenhofer, Krähenbühl, "A Multigrid Method for Efficiently
Training Video Models", CVPR 2020, section 3.2).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from videopool.engine.cluster.distributed import World
from videopool.engine.step.split import Split
from videopool.errors import InputError
from videopool.pooling import Pool


class _StepStatistics(_BatchNorm):
    """A batch normalization that collects statistics until ``update_running_statistics``.

    Attributes:
        parts: groups of clips in a forward pass.
        groups: [], how many groups have been collected.
        collected: [2,C], the sums of their means and unbiased variances. Both are tensors, so that compiled code does
            not treat them as constants.
    """

    parts: int
    groups: torch.Tensor
    collected: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize ``x`` [B,C,...], in training each of its groups with its own statistics."""
        if not self.training:
            return super().forward(x)
        self._check_input_dim(x)
        # A layer may see several rows of each clip, such as its frames; the rows of a group are neighbors.
        normalized = [self._normalize(group) for group in x.chunk(self.parts)]
        return normalized[0] if len(normalized) == 1 else torch.cat(normalized)

    def _normalize(self, x: torch.Tensor) -> torch.Tensor:
        mean, variance = self.collected.new_zeros(2, self.num_features).unbind()
        result = functional.batch_norm(x, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
        with torch.no_grad():  # momentum 1 stored the statistics of only this group
            self.collected += torch.stack([mean, variance])
            self.groups += 1
        return result


class _StepBatchNorm1d(_StepStatistics, nn.BatchNorm1d):
    pass


class _StepBatchNorm2d(_StepStatistics, nn.BatchNorm2d):
    pass


class _StepBatchNorm3d(_StepStatistics, nn.BatchNorm3d):
    pass


_CLASSES: dict[type[nn.Module], type[_StepStatistics]] = {
    nn.BatchNorm1d: _StepBatchNorm1d,
    nn.BatchNorm2d: _StepBatchNorm2d,
    nn.BatchNorm3d: _StepBatchNorm3d,
}


def collect_statistics(model: nn.Module, splits: Iterable[Split]) -> list[_StepStatistics]:
    """Let the batch normalizations of ``model`` collect statistics over a step, and return these layers.

    Layers without running statistics and layers of other classes, such as ``SyncBatchNorm``, do not change. If all
    steps have one group of clips, no layer changes, and the list is empty.

    Args:
        model: the network.
        splits: all ways in which steps are divided.
    """
    if all(split.batch == split.group for split in splits):
        return []
    layers = []
    for layer in model.modules():
        if type(layer) in _CLASSES and layer.running_mean is not None:
            layer.__class__ = _CLASSES[type(layer)]
            assert isinstance(layer, _StepStatistics)
            layer.parts, layer.groups = 1, torch.zeros_like(layer.running_mean[0])
            layer.collected = torch.zeros_like(layer.running_mean).expand(2, -1).clone()
            layers.append(layer)
    return layers


def divide_statistics(layers: list[_StepStatistics], split: Split) -> None:
    """Normalize each group of clips of ``split`` with its own statistics from now on."""
    for layer in layers:
        layer.parts = split.size // split.group


@torch.no_grad()
def update_running_statistics(layers: list[_StepStatistics], world: World, value: torch.Tensor) -> torch.Tensor:
    """Update the running statistics of ``layers`` from what they collected in a step on all processes.

    Returns:
        The mean of ``value`` [] over the processes, computed in the same reduction.
    """
    layers = [layer for layer in layers if layer.training]  # not those that are frozen
    collected = [(layer.collected / layer.groups.clamp(min=1)).flatten() for layer in layers]
    dtype = collected[0].dtype if collected else value.dtype
    *means, mean_value = world.mean(torch.cat([*collected, value.to(dtype)[None]])).split([*map(len, collected), 1])
    for layer, new in zip(layers, means, strict=True):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        assert layer.num_batches_tracked is not None
        layer.num_batches_tracked += 1
        momentum = 1 / layer.num_batches_tracked if layer.momentum is None else layer.momentum
        momentum = momentum * (layer.groups > 0)  # a layer that the step did not use keeps its statistics
        mean, variance = new.view(2, -1).unbind()
        layer.running_mean.lerp_(mean, momentum)
        layer.running_var.lerp_(variance, momentum)
        layer.collected.zero_()
        layer.groups.zero_()
    return mean_value[0]


def buffers_agree(model: nn.Module) -> bool:
    """Return whether the buffers of ``model`` stay the same on all processes without being sent in each step.

    That is known of batch normalization that collects or synchronizes its statistics, and of pooling, whose buffers are
    constants. Any other layer, such as one of another package, may change its buffers on each process separately.
    """
    known = (_StepStatistics, nn.SyncBatchNorm, Pool)
    owners = [module for module in model.modules() if next(module.buffers(recurse=False), None) is not None]
    return all(isinstance(module, known) for module in owners)


@contextlib.contextmanager
def explain_small_groups(group: int) -> Iterator[None]:
    """Raise ``InputError`` instead of torch's error about a batch normalization of one value per channel.

    Args:
        group: clips that share statistics.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            f"A batch normalization has one value per channel, because the statistics are those of {group} clip(s). "
            "Use more clips in a forward pass: raise batch, batch_per_device or norm_batch.",
            setting="norm_batch",
        ) from error
