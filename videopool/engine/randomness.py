"""Random layers whose numbers do not depend on how a step is divided among processes and forward passes."""

from __future__ import annotations

import torch
from torch import nn

from videopool.pooling import S3Pool, StochasticPool, share_generator
from videopool.types import Place


class StepRandomness:
    """The random numbers of the layers of ``model``, which follow from (seed, step, clip).

    ``nn.Dropout`` and its variants draw the numbers of all clips of a step and use those of their own clips. The
    pooling methods that draw have generators of their own, so that dropout is the same for every method. ``s3`` draws
    the same for all clips of a step. ``stochastic`` and all other random layers, which use torch's global generator,
    start from another seed in each forward pass of each process; they repeat only if a step is divided in the same way.

    Attributes:
        place: the clips of the current forward pass.
        dropout, strips, cells: the generators of dropout and of the pooling methods ``s3`` and ``stochastic``.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.place = Place.of(1)
        self.dropout = torch.Generator(device)
        self.strips = share_generator(model, device, S3Pool)
        self.cells = share_generator(model, device, StochasticPool)
        for layer in model.modules():
            if type(layer) in _CLASSES:
                layer.__class__ = _CLASSES[type(layer)]
                assert isinstance(layer, _StepDropout)
                layer.randomness = self

    def seed(self, seed: int, step: int, place: Place) -> None:
        """Start the numbers of a forward pass on the clips at ``place``."""
        self.place = place
        whole, own = step_seed(seed, step), step_seed(seed, step, place.first)
        torch.manual_seed(own)
        self.dropout.manual_seed(whole)
        if self.strips is not None:  # they are the same for all clips
            self.strips.manual_seed(whole)
        if self.cells is not None:
            self.cells.manual_seed(own)

    def __deepcopy__(self, memo: dict[int, object]) -> StepRandomness:
        """Return this object: copies of a model draw the same numbers."""
        return self


def step_seed(seed: int, step: int, first: int = 0) -> int:
    """Return a 63-bit seed for each (seed, step, first clip): a fixed integer hash (splitmix64)."""
    value = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + first * 0x94D049BB133111EB) & (2**64 - 1)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = ((value ^ (value >> shift)) * factor) & (2**64 - 1)
    return (value ^ (value >> 31)) >> 1


class _StepDropout(nn.modules.dropout._DropoutNd):
    """Dropout with the mask of the layer's clips among those of the step."""

    randomness: StepRandomness

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` [B,...], in training with a part p of its values set to 0 and the rest divided by 1 - p."""
        place = self.randomness.place
        if not self.training or not self.p or self.p == 1 or len(x) % place.size:
            return super().forward(x)  # type: ignore[no-any-return]
        rows = len(x) // place.size  # a layer may see several rows of each clip, such as its frames
        kept = self._kept(x, rows * place.whole)[rows * place.first :][: len(x)]
        return x * kept

    def _kept(self, x: torch.Tensor, rows: int) -> torch.Tensor:
        """Return 0 or 1 / (1 - p) for each value, or channel, of ``rows`` rows like those of ``x``."""
        shape = (rows, *x.shape[1:])
        if not isinstance(self, nn.Dropout):
            shape = (rows, x.shape[1], *(1 for _ in x.shape[2:]))
        kept = torch.empty(shape, dtype=x.dtype, device=x.device)
        return kept.bernoulli_(1 - self.p, generator=self.randomness.dropout).div_(1 - self.p)


class _Dropout(_StepDropout, nn.Dropout):
    pass


class _Dropout1d(_StepDropout, nn.Dropout1d):
    pass


class _Dropout2d(_StepDropout, nn.Dropout2d):
    pass


class _Dropout3d(_StepDropout, nn.Dropout3d):
    pass


_CLASSES: dict[type[nn.Module], type[_StepDropout]] = {
    nn.Dropout: _Dropout,
    nn.Dropout1d: _Dropout1d,
    nn.Dropout2d: _Dropout2d,
    nn.Dropout3d: _Dropout3d,
}
