"""Random numbers of layers that do not depend on how a step is divided among processes and forward passes."""

from __future__ import annotations

import torch
from torch import nn

from videopool.pooling import S3Pool, StochasticPool
from videopool.types import Place


class StepRandomness:
    """Seeds the random layers of ``model`` from (seed, step, clip).

    ``nn.Dropout`` and its variants draw the numbers of all clips of a step and use those of the clips that they see.
    Pooling with the method ``s3`` draws the same numbers for all clips of a step. The method ``stochastic`` and all
    other random layers, which use torch's global generator, start from another seed in each forward pass of each
    process; they repeat only if a step is divided in the same way.

    Each layer has its own numbers, which do not depend on the other layers. A layer that is called twice in a forward
    pass uses the same numbers twice. They are also the same when the backward pass computes the activations again.

    Attributes:
        size: clips in a forward pass.
        position: int64 [3] on the CPU: the seed of the step, the first clip of the forward pass, and the number of
            clips of the step. It is a tensor, so that compiled code does not treat it as a constant.
        strips, cells: int64 [1] on the CPU: the seeds of the pooling methods ``s3`` and ``stochastic``.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.size, self._device = 1, device
        self.position = torch.tensor([0, 0, 1])
        self.strips, self.cells = torch.tensor([0]), torch.tensor([0])
        for classes in (_DROPOUT, _POOLING):
            layers = [layer for layer in model.modules() if type(layer) in classes and _is_seeded(layer)]
            for number, layer in enumerate(layers):
                layer.__class__ = classes[type(layer)]
                layer.randomness, layer.number = self, number  # type: ignore[assignment]

    def seed(self, seed: int, step: int, place: Place) -> None:
        """Seed the forward pass of the clips at ``place``."""
        whole, own = step_seed(seed, step), step_seed(seed, step, place.first)
        self.size = place.size
        self.position = torch.tensor([whole, place.first, place.whole])
        self.strips = torch.tensor([step_seed(seed, step, -1)])  # the same for all clips
        self.cells = torch.tensor([step_seed(seed, step, -2 - place.first)])
        # torch.manual_seed also seeds devices that are not used, which takes 0.7 ms without a GPU.
        torch.default_generator.manual_seed(own)
        if self._device.type == "cuda":
            torch.cuda.manual_seed(own)

    def __deepcopy__(self, memo: dict[int, object]) -> StepRandomness:
        """Return this object: copies of a model draw the same numbers."""
        return self


def step_seed(seed: int, step: int, first: int = 0) -> int:
    """Return a 63-bit seed for each (seed, step, first clip): a fixed integer hash (splitmix64)."""
    value = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + first * 0x94D049BB133111EB) & (2**64 - 1)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = ((value ^ (value >> shift)) * factor) & (2**64 - 1)
    return (value ^ (value >> 31)) >> 1


@torch.library.custom_op("videopool::dropout_mask", mutates_args=())
def _mask(
    position: torch.Tensor, number: int, rows: int, shape: list[int], p: float, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Return the mask of the clips of a forward pass: 0 with the probability ``p``, else 1 / (1 - p).

    Args:
        position: see ``StepRandomness``.
        number: of the layer.
        rows: rows of the mask for each clip.
        shape, dtype, device: of the mask.
        p: the probability of 0.
    """
    seed, first, whole = position.tolist()
    generator = torch.Generator(device).manual_seed((seed + number) % 2**63)
    every = torch.empty((rows * whole, *shape[1:]), dtype=dtype, device=device)
    every.bernoulli_(1 - p, generator=generator).div_(1 - p)
    return every[rows * first :][: shape[0]].clone()


@_mask.register_fake
def _mask_shape(
    position: torch.Tensor, number: int, rows: int, shape: list[int], p: float, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device=device)


class _StepDropout(nn.modules.dropout._DropoutNd):
    """Dropout with the mask of the layer's clips among those of the step."""

    randomness: StepRandomness
    number: int

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` [B,...], in training with a part p of its values set to 0 and the rest divided by 1 - p."""
        if not self.training or not self.p or self.p == 1 or len(x) % self.randomness.size:
            return super().forward(x)  # type: ignore[no-any-return]
        rows = len(x) // self.randomness.size  # a layer may see several rows of each clip, such as its frames
        whole_channels = not isinstance(self, nn.Dropout)
        shape = [len(x), x.shape[1], *(1 for _ in x.shape[2:])] if whole_channels else [*x.shape]
        return x * _mask(self.randomness.position, self.number, rows, shape, self.p, x.dtype, x.device)


class _Dropout(_StepDropout, nn.Dropout):
    pass


class _Dropout1d(_StepDropout, nn.Dropout1d):
    pass


class _Dropout2d(_StepDropout, nn.Dropout2d):
    pass


class _Dropout3d(_StepDropout, nn.Dropout3d):
    pass


_DROPOUT: dict[type[nn.Module], type[nn.Module]] = {
    nn.Dropout: _Dropout,
    nn.Dropout1d: _Dropout1d,
    nn.Dropout2d: _Dropout2d,
    nn.Dropout3d: _Dropout3d,
}


@torch.library.custom_op("videopool::step_numbers", mutates_args=())
def _numbers(
    seed: torch.Tensor, number: int, exponential: bool, shape: list[int], dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Return random numbers, distributed exponentially or uniformly from 0 to 1.

    Args:
        seed: int64 [1] on the CPU.
        number: of the layer and its axis; each has its own numbers.
        exponential: whether the distribution is exponential.
        shape, dtype, device: of the result.
    """
    generator = torch.Generator(device).manual_seed((int(seed.item()) + number) % 2**63)
    numbers = torch.empty(shape, dtype=dtype, device=device)
    return numbers.exponential_(generator=generator) if exponential else numbers.uniform_(generator=generator)


@_numbers.register_fake
def _numbers_shape(
    seed: torch.Tensor, number: int, exponential: bool, shape: list[int], dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device=device)


class _StepStochasticPool(StochasticPool):
    """Stochastic pooling whose draws are a function of the forward pass."""

    randomness: StepRandomness
    number: int

    def exponential(self, like: torch.Tensor) -> torch.Tensor:
        """Draw exponentially distributed numbers."""
        return _numbers(self.randomness.cells, self.number, True, [*like.shape], like.dtype, like.device)


class _StepS3Pool(S3Pool):
    """S3 pooling whose draws are a function of the step."""

    randomness: StepRandomness
    number: int

    def uniform(self, count: int, axis: int, device: torch.device) -> torch.Tensor:
        """Draw ``count`` numbers from 0 to 1 for the positions of ``axis``."""
        return _numbers(self.randomness.strips, _MOST_AXES * self.number + axis, False, [count], torch.float32, device)


_MOST_AXES = 3
_POOLING: dict[type[nn.Module], type[nn.Module]] = {StochasticPool: _StepStochasticPool, S3Pool: _StepS3Pool}


def _is_seeded(layer: nn.Module) -> bool:
    """Return whether a random layer has no own generator."""
    return getattr(layer, "generator", None) is None
