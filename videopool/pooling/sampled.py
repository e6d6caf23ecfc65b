"""Pooling that draws: other cells or other windows at every training step, their mean in evaluation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from videopool import ops
from videopool.errors import InputError
from videopool.pooling.base import Pool, Sizes, Windows, per_axis
from videopool.pooling.cells import in_layout_of, window_cells, window_counts
from videopool.pooling.classic import average, maximum

_SOFTMAX: dict[int, Callable[..., torch.Tensor]] = {1: ops.softmax_pool1d, 2: ops.softmax_pool2d, 3: ops.softmax_pool3d}
_MAXIMUM: dict[int, Callable[..., tuple[torch.Tensor, torch.Tensor]]] = {
    1: functional.max_pool1d_with_indices,
    2: functional.max_pool2d_with_indices,
    3: functional.max_pool3d_with_indices,
}


class StochasticPool(Pool):
    """Stochastic pooling (Zeiler and Fergus, "Stochastic Pooling for Regularization of Deep Convolutional Neural
    Networks", ICLR 2013), of activations ``a``, which are not negative.

    Training draws one cell of each window and channel with probability ``p_i = a_i / sum_j a_j`` and gives it the
    whole gradient; evaluation takes the mean of that draw, ``sum_i p_i a_i``, with its exact gradient. A window of
    zeros gives 0, with the gradient 0 in training.

    The method has no meaning for negative activations; looking for them at every step would make a GPU wait, so they
    are set to 0: what is pooled is ``a = relu(x)``, which changes nothing behind a ReLU.

    Args:
        generator: where draws come from, on the device of the input; None is torch's global one. Its state is no part
            of ``state_dict``, and ``torch.utils.checkpoint`` does not put it back.

    Raises:
        InputError: for what is no generator, and in forward for one of another device, and within a checkpoint.
    """

    method = "stochastic"

    def __init__(
        self,
        rank: int,
        kernel_size: Sizes | None,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        *,
        channels: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(rank, kernel_size, stride, padding, dilation, ceil_mode, channels=channels)
        self.generator = _check_generator(self, generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,C,...] to the pooled [B,C,...] of the same dtype."""
        windows = self._windows(x)
        window_counts(x, windows)
        _check_draws(self, x)
        if not self.training:
            return _mean_draw(x, windows)
        w = windows
        apart = all(s >= k and d == 1 for s, k, d in zip(w.stride, w.kernel_size, w.dilation, strict=True))
        return (_draw_apart if apart else _draw)(torch.relu(x), windows, self.generator)

    def own(self) -> str:
        """Whether it draws from a generator of its own."""
        return "" if self.generator is None else "own generator"


def share_generator(model: nn.Module, device: torch.device) -> torch.Generator | None:
    """Give all layers of ``model`` that draw one generator on ``device``, those that have one of their own left out.

    What else draws in a network, such as dropout, then gets the same numbers from torch's global generator whatever the
    pooling is. Seed the generator where the global one is seeded.

    Returns:
        The generator, or None where no layer takes it.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, StochasticPool | S3Pool)]
    layers = [layer for layer in layers if layer.generator is None]
    if not layers:
        return None
    shared = torch.Generator(device)
    for layer in layers:
        layer.generator = shared
    return shared


def _mean_draw(x: torch.Tensor, windows: Windows) -> torch.Tensor:
    """``sum_i p_i a_i``: the weights a / sum a are the softmax of log a, so no square over- or underflows."""
    w = windows
    a = torch.relu(x).to(torch.promote_types(x.dtype, torch.float32))
    logits = a.clamp(min=torch.finfo(a.dtype).tiny).log()  # equal, and finite, in a window of zeros
    pool = _SOFTMAX[len(w.kernel_size)]
    return pool(a, logits, w.kernel_size, w.stride, w.padding, w.dilation, w.ceil_mode).to(x.dtype)


def _draw(a: torch.Tensor, windows: Windows, generator: torch.Generator | None) -> torch.Tensor:
    """One cell of every window of ``a`` [B,C,...]; windows may share cells, and draw apart all the same."""
    with torch.no_grad():
        keys = _race(window_cells(_root(a), windows, -1.0), generator)
        winner = keys.argmax(-1, keepdim=True)  # never padding, whose keys are negative
    drawn = window_cells(a, windows, 0.0).gather(-1, winner).squeeze(-1)
    return in_layout_of(drawn, a)


def _draw_apart(a: torch.Tensor, windows: Windows, generator: torch.Generator | None) -> torch.Tensor:
    """As ``_draw``, for windows that share no cell: the race is run on ``a`` itself, whose cells are not laid out."""
    rank = len(windows.kernel_size)
    w = windows
    with torch.no_grad():
        keys = _race(_root(a), generator)
        _, winner = _MAXIMUM[rank](keys, w.kernel_size, w.stride, w.padding, w.dilation, w.ceil_mode)
    drawn = a.flatten(-rank).gather(-1, winner.flatten(-rank)).view(winner.shape)
    return in_layout_of(drawn, a)


def _root(a: torch.Tensor) -> torch.Tensor:
    return a.to(torch.promote_types(a.dtype, torch.float32)).sqrt()


def _race(roots: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Keys of which the largest is that of cell i with probability a_i / sum a, from the roots of a; 0 where a is 0.

    With E_i exponentially distributed, E_i / a_i is the time of the first event at rate a_i, and the first of all is
    of cell i with that probability. The roots of a_i / E_i are in the same order, and stay inside of the range.
    """
    noise = torch.empty(roots.shape, dtype=roots.dtype, device=roots.device)  # contiguous: the same for every layout
    noise.exponential_(generator=generator)
    return roots / noise.clamp(min=torch.finfo(noise.dtype).tiny).sqrt()


class S3Pool(Pool):
    """S3Pool (Zhai et al., "S3Pool: Pooling with Stochastic Spatial Sampling", CVPR 2017): windows with a stride of 1
    are pooled by their maximum, and the result is downsampled at random.

    Along each axis by itself, the windows of stride 1 are cut into strips of ``grid``; training keeps ``grid / stride``
    of each strip, drawn without replacement and in their order, the same for all samples and channels. Evaluation
    averages each ``stride`` neighbours, as the paper does: the mean of the draw for ``grid = stride``.

    Sizes are those of max pooling with the same window, so padding and ``ceil_mode`` hold here as well. Windows of
    stride 1 begin where the first window of max pooling does, and go on to ``stride`` for each result, as long as they
    begin inside of the input (or of the padding before it); at its end they are cut. (The authors' code leaves out
    those that are cut.) A last strip has fewer windows, and keeps as many as there are results left. A global pool has
    one window and draws nothing: it is the maximum.

    Args:
        grid: cells of a strip, one number or one for each axis, multiples of the stride; larger ones distort more.
            None is the stride, as in the authors' code.
        generator: where draws come from, on the device of the input; None is torch's global one. Its state is no part
            of ``state_dict``, and ``torch.utils.checkpoint`` does not put it back.

    Raises:
        InputError: for a grid that is no multiple of the stride, or of a global pool, for what is no generator, and in
            forward for one of another device, and within a checkpoint.
    """

    method = "s3"

    def __init__(
        self,
        rank: int,
        kernel_size: Sizes | None,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        *,
        channels: int | None = None,
        grid: Sizes | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(rank, kernel_size, stride, padding, dilation, ceil_mode, channels=channels)
        if grid is not None and self.kernel_size is None:
            raise InputError(f"a global 's3' pool has one window and no strips, got grid {grid}; leave it out")
        self.grid = self.stride if grid is None else per_axis(grid, rank, "grid")
        if any(cells < 1 or cells % step for cells, step in zip(self.grid, self.stride, strict=True)):
            raise InputError(
                f"grid {self.grid} of 's3' pooling is no multiple of the stride {self.stride}; "
                "a strip keeps grid / stride of its cells"
            )
        self.generator = _check_generator(self, generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,C,...] to the pooled [B,C,...] of the same dtype."""
        windows = self._windows(x)
        if self.kernel_size is None:
            return maximum(x, windows)
        _check_draws(self, x)
        counts = window_counts(x, windows)
        sizes = zip(x.shape[-self.rank :], windows.padding, windows.stride, counts, strict=True)
        lengths = tuple(min(count * stride, size + pad) for size, pad, stride, count in sizes)
        top = _maximum_of_stride_1(x, windows, lengths)
        if not self.training:
            zeros, ones = (0,) * self.rank, (1,) * self.rank
            return average(top, Windows(windows.stride, windows.stride, zeros, ones, True))
        for axis in range(self.rank):
            if counts[axis] == lengths[axis]:  # nothing to leave out
                continue
            kept = _draw_positions(counts[axis], lengths[axis], self.stride[axis], self.grid[axis], self._uniform(x))
            top = top.index_select(axis - self.rank, kept)
        return in_layout_of(top, x)

    def _uniform(self, x: torch.Tensor) -> Callable[[int, int], torch.Tensor]:
        return lambda rows, columns: torch.rand(rows, columns, generator=self.generator, device=x.device)

    def own(self) -> str:
        """The grid where it is not the stride, and whether it draws from a generator of its own."""
        words = [f"grid {'x'.join(map(str, self.grid))}"] if self.grid != self.stride else []
        return " ".join(words + ["own generator"] * (self.generator is not None))


def _maximum_of_stride_1(x: torch.Tensor, windows: Windows, lengths: tuple[int, ...]) -> torch.Tensor:
    """The maxima [B,C,*lengths] of windows with a stride of 1, the first where the first window begins."""
    rank = len(lengths)
    extents = [(k - 1) * d + 1 for k, d in zip(windows.kernel_size, windows.dilation, strict=True)]
    pads: list[int] = []
    for axis, (length, extent) in enumerate(zip(lengths, extents, strict=True)):
        before = windows.padding[axis]
        pads = [before, length - 1 + extent - before - x.shape[axis - rank], *pads]
    if any(pads):
        x = functional.pad(x, pads, value=-torch.inf)
    zeros, ones = (0,) * rank, (1,) * rank
    return maximum(x, Windows(windows.kernel_size, ones, zeros, windows.dilation, False))


def _draw_positions(
    count: int, length: int, stride: int, grid: int, uniform: Callable[[int, int], torch.Tensor]
) -> torch.Tensor:
    """``count`` of ``length`` positions in rising order: grid / stride of each strip of ``grid``, the rest of the last.

    ``uniform(rows, columns)`` draws numbers from 0 to 1 on the device that the result is to be on.
    """
    each = grid // stride
    full = min(count // each, length // grid)
    # The places of the smallest numbers of a row are a draw without replacement.
    kept = uniform(full, grid).argsort(-1)[:, :each].sort(-1).values
    kept = (kept + grid * torch.arange(full, device=kept.device)[:, None]).flatten()
    if full * each == count:
        return kept
    rest = uniform(1, length - full * grid).argsort(-1)[0, : count - full * each].sort().values
    return torch.cat((kept, rest + full * grid))


def _check_generator(pool: Pool, generator: object) -> torch.Generator | None:
    if generator is None or isinstance(generator, torch.Generator):
        return generator
    raise InputError(
        f"generator {generator!r} of '{pool.method}' pooling is no torch.Generator; leave it out for torch's own, "
        "which torch.manual_seed seeds"
    )


def _check_draws(pool: StochasticPool | S3Pool, x: torch.Tensor) -> None:
    """Refuse a generator that cannot draw on the device of ``x``, or that would draw anew in a backward pass."""
    if not pool.training or pool.generator is None:
        return
    if pool.generator.device.type != x.device.type:
        raise InputError(
            f"the generator of '{pool.method}' pooling is on {pool.generator.device}, the input on {x.device}; "
            f"give torch.Generator('{x.device.type}')"
        )
    in_backward = not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
    if in_backward:
        raise InputError(
            f"'{pool.method}' pooling draws from a generator of its own, which torch.utils.checkpoint does not put "
            "back for its second run of the layer; leave the generator out, or the layer out of the checkpoint"
        )
