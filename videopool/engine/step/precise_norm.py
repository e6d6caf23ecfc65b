"""Precise batch normalization: statistics over many clips for fixed weights, instead of a moving average.

During training, the running statistics are those of earlier weights. Here they are computed for fixed weights, as in
Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3, and ``fvcore.nn.precise_bn``: the mean and the
variance of all values that a layer sees, while each batch is normalized with its own statistics.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from videopool.data.loading.loader import TrainLoader
from videopool.data.loading.prefetch import on_device
from videopool.engine.cluster.distributed import World
from videopool.engine.scoring.evaluation import Preprocess
from videopool.engine.step.precision import Precision, autocast
from videopool.engine.step.split import Split
from videopool.types import Batch


class PreciseNorm:
    """Recomputes the statistics of batch normalization from training clips.

    The clips are cropped and mirrored at random as in training, and not augmented further. They come from a separate
    loader, and nothing else draws random numbers, so the training does not change.

    Args:
        loader: of the clips.
        batches: steps of ``split`` to use; not more than an epoch has.
        preprocess: turns uint8 clips into the input of the network.
        split: how the clips of a step are divided, which sets the clips that are normalized together.
        world: this process among all.
        precision: of the forward pass.
        on_batch: called before each forward pass.
    """

    def __init__(
        self,
        loader: TrainLoader,
        batches: int,
        *,
        preprocess: Preprocess,
        split: Split,
        world: World,
        precision: Precision = "float32",
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        self.loader, self.batches = loader, min(batches, loader.steps_per_epoch)
        self._on_batch = on_batch
        self._preprocess, self._split, self._world, self._precision = preprocess, split, world, precision

    def __call__(self, model: nn.Module, epoch: int) -> None:
        """Overwrite the running statistics of ``model`` with those of the loader's clips in ``epoch``."""
        batches = on_device(self.loader.batches(epoch), self._world.device)
        passes = itertools.islice(batches, self.batches * self._split.passes)
        try:
            with autocast(self._world.device, self._precision):
                inputs = map(self._input, passes)
                recompute_statistics(model, inputs, self._world, parts=self._split.size // self._split.group)
        finally:
            self.loader.close()

    def _input(self, batch: Batch) -> torch.Tensor:
        self._on_batch()
        return self._preprocess(batch.clips)


@torch.no_grad()
def recompute_statistics(model: nn.Module, inputs: Iterable[torch.Tensor], world: World, *, parts: int = 1) -> None:
    """Overwrite the running statistics of the batch normalizations of ``model``.

    All processes must have equally many inputs of equal size. The result does not depend on their number if ``parts``
    divides the same clips into the same groups. Dropout is off, and frozen layers keep their statistics.

    Args:
        model: the network; its training mode is restored.
        inputs: of the forward passes of this process.
        world: this process among all.
        parts: groups of neighboring clips of an input, each of which is normalized with its own statistics.
    """
    training = model.training
    layers = [layer for layer in model.train().modules() if isinstance(layer, _BatchNorm) and layer.training]
    moments = [Moments(layer) for layer in layers if layer.running_mean is not None]
    model.eval()
    if not moments:
        model.train(training)
        return
    with contextlib.ExitStack() as stack:
        stack.callback(model.train, training)
        for each in moments:
            stack.enter_context(each.collected(parts))
        for clips in inputs:
            model(clips)
    means = world.mean(torch.cat([each.sums.flatten() for each in moments]))
    for each, mean in zip(moments, means.split([each.sums.numel() for each in moments]), strict=True):
        each.store(mean.view(3, -1))


class Moments:
    """The mean and the mean square of all values of each channel that a layer sees.

    Attributes:
        layer: a batch normalization with running statistics.
        sums: float64 [3,C]: the sums of the values and of their squares, and their number.
    """

    def __init__(self, layer: _BatchNorm) -> None:
        assert layer.running_mean is not None
        self.layer = layer
        self.sums = torch.zeros(3, layer.num_features, dtype=torch.float64, device=layer.running_mean.device)

    @contextlib.contextmanager
    def collected(self, parts: int) -> Iterator[None]:
        """Return a context in which the layer adds to the sums, and normalizes each of ``parts`` groups by itself."""
        layer = self.layer
        forward = self._normalize_synchronized if isinstance(layer, nn.SyncBatchNorm) else self._normalize
        vars(layer)["forward"] = functools.partial(forward, parts)
        try:
            yield
        finally:
            del vars(layer)["forward"]

    def store(self, sums: torch.Tensor) -> None:
        """Overwrite the running statistics of the layer with those of ``sums``, unless these count no values."""
        assert self.layer.running_mean is not None
        assert self.layer.running_var is not None
        if sums[2, 0]:
            mean, square = sums[:2] / sums[2]
            self.layer.running_mean.copy_(mean)
            self.layer.running_var.copy_((square - mean * mean).clamp(min=0))

    def _normalize(self, parts: int, x: torch.Tensor) -> torch.Tensor:
        self._add(x)
        weight, bias, eps = self.layer.weight, self.layer.bias, self.layer.eps
        groups = [functional.batch_norm(group, None, None, weight, bias, True, 0.0, eps) for group in x.chunk(parts)]
        return groups[0] if len(groups) == 1 else torch.cat(groups)

    def _normalize_synchronized(self, parts: int, x: torch.Tensor) -> torch.Tensor:
        """Normalize with the statistics of all processes, as in training."""
        self._add(x)
        layer = self.layer
        layer.training, layer.track_running_stats = True, False
        try:
            return type(layer).forward(layer, x)  # type: ignore[no-any-return]
        finally:
            layer.training, layer.track_running_stats = False, True

    def _add(self, x: torch.Tensor) -> None:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        values = x if x.dtype == torch.float64 else x.float()
        variance, mean = torch.var_mean(values, axes, correction=0)
        variance, mean = variance.double(), mean.double()
        count = x.numel() // x.shape[1]
        self.sums += count * torch.stack([mean, variance + mean * mean, torch.ones_like(mean)])
