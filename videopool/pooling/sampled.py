"""Random pooling: training draws cells or windows at every step, evaluation takes their mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from videopool.errors import InputError
from videopool.ops.window import Window
from videopool.pooling.base import Pool, Sizes, per_axis
from videopool.pooling.cells import in_layout_of, precise, window_cells, window_counts
from videopool.pooling.classic import average, maximum
from videopool.pooling.weighted import softmax_pool

Noise = Callable[[torch.Tensor], torch.Tensor]  # a tensor -> random numbers of its shape and dtype

_MAXIMUM: dict[int, Callable[..., tuple[torch.Tensor, torch.Tensor]]] = {
    1: functional.max_pool1d_with_indices,
    2: functional.max_pool2d_with_indices,
    3: functional.max_pool3d_with_indices,
}


class StochasticPool(Pool):
    """Stochastic pooling (Zeiler and Fergus, "Stochastic Pooling for Regularization of Deep Convolutional Neural
    Networks", ICLR 2013), of activations ``a`` >= 0.

    Training draws one cell of each window and channel with probability ``p_i = a_i / sum_j a_j``, which gets the whole
    gradient; evaluation takes the mean of that draw, ``sum_i p_i a_i``, with its exact gradient. A window of zeros
    gives 0, with the gradient 0 in training.

    The method is not defined for negative activations. Checking for them at every step would make a GPU wait, so it
    pools ``a = relu(x)``, which changes nothing after a ReLU.

    Args:
        generator: the random generator, on the device of the input; None is torch's global one. ``state_dict`` does not
            contain its state, and ``torch.utils.checkpoint`` does not restore it.

    Raises:
        InputError: for another type of generator; in forward for one on another device, and within a checkpoint.
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
        """Pool ``x`` [B,C,...] to [B,C,...] of the same dtype."""
        window = self.windows_over(x)
        window_counts(x, window)
        _check_draws(self, x)
        if not self.training:
            return _mean_draw(x, window)
        axes = zip(window.stride, window.kernel_size, window.dilation, strict=True)
        apart = all(stride >= kernel and dilation == 1 for stride, kernel, dilation in axes)
        return torch.relu((_draw_apart if apart else _draw)(x, window, self.exponential))

    def exponential(self, like: torch.Tensor) -> torch.Tensor:
        """Draw exponentially distributed numbers, contiguous in memory, so every layout gets the same draws."""
        noise = torch.empty(like.shape, dtype=like.dtype, device=like.device)
        if noise.device.type != "cpu":
            return noise.exponential_(generator=self.generator)
        return noise.uniform_(generator=self.generator).log_().neg_()  # five times as fast as exponential_

    def own(self) -> str:
        """Return "own generator" if it does not draw from torch's global one."""
        return "" if self.generator is None else "own generator"


def _mean_draw(x: torch.Tensor, window: Window) -> torch.Tensor:
    """Return ``sum_i p_i a_i``: the weights a / sum a are the softmax of log a, so no square over- or underflows."""
    a = precise(torch.relu(x))
    logits = a.clamp(min=torch.finfo(a.dtype).tiny).log()  # equal, and finite, in a window of zeros
    return softmax_pool(a, logits, window).to(x.dtype)


def _draw(x: torch.Tensor, window: Window, noise: Noise) -> torch.Tensor:
    """Draw one cell of every window of ``x`` [B,C,...], independently for windows that share cells.

    The cell of a window without a positive one is arbitrary.
    """
    with torch.no_grad():
        keys = _race(window_cells(_roots(x), window, -1.0), noise)
        winner = keys.argmax(-1, keepdim=True)  # not padding, whose keys are negative
    drawn = window_cells(x, window, 0.0).gather(-1, winner).squeeze(-1)
    return in_layout_of(drawn, x)


def _draw_apart(x: torch.Tensor, window: Window, noise: Noise) -> torch.Tensor:
    """Draw as ``_draw`` for windows that share no cell, without gathering the cells."""
    rank = len(window.kernel_size)
    with torch.no_grad():
        keys = _race(_roots(x), noise)
        _, winner = _MAXIMUM[rank](keys, *window)
    drawn = x.flatten(-rank).gather(-1, winner.flatten(-rank)).view(winner.shape)
    return in_layout_of(drawn, x)


def _roots(x: torch.Tensor) -> torch.Tensor:
    """Return the roots of relu(x). On the CPU, the root of 0 takes 13 times as long as that of other numbers."""
    a = precise(x)
    return a.clamp(min=torch.finfo(a.dtype).tiny).sqrt_().mul_(a > 0)


def _race(roots: torch.Tensor, noise: Noise) -> torch.Tensor:
    """Return keys, of which cell i has the largest with probability a_i / sum a, from the roots of a; 0 where a is 0.

    With E_i exponentially distributed, E_i / a_i is the time of the first event at rate a_i, and cell i has the
    first of all events with that probability. The roots of a_i / E_i have the same order, and stay in range.
    """
    return roots / noise(roots).clamp_(min=torch.finfo(roots.dtype).tiny).sqrt_()


class S3Pool(Pool):
    """S3Pool (Zhai et al., "S3Pool: Pooling with Stochastic Spatial Sampling", CVPR 2017): the maxima of windows with
    a stride of 1, randomly downsampled.

    Along each axis, the windows of stride 1 are cut into strips of ``grid``; training keeps ``grid / stride`` of each
    strip, drawn without replacement and kept in order, the same for all samples and channels. Evaluation averages
    ``stride`` neighbors, as the paper does: the mean of the draw for ``grid = stride``.

    Sizes are those of max pooling with the same window, padding and ``ceil_mode`` included. The windows of stride 1
    start where the first window of max pooling does. There are ``stride`` for each result, as long as they start inside
    the input or the padding before it; those that extend past its end are cut. (The authors' code omits those.) A last
    strip has fewer windows, and keeps as many as there are results left. A global pool has one window and draws
    nothing: it is the maximum.

    Args:
        grid: cells of a strip, one number or one for each axis, multiples of the stride; larger ones distort more.
            None is the stride, as in the authors' code.
        generator: the random generator, on the device of the input; None is torch's global one. ``state_dict`` does not
            contain its state, and ``torch.utils.checkpoint`` does not restore it.

    Raises:
        InputError: for a grid that is not a multiple of the stride, or of a global pool, and for another type of
            generator; in forward for one on another device, and within a checkpoint.
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
            raise InputError(f"grid={grid} is not for a global 's3' pool, which has one window. Remove it.")
        self.grid = self.stride if grid is None else per_axis(grid, rank, "grid")
        if any(cells < 1 or cells % step for cells, step in zip(self.grid, self.stride, strict=True)):
            raise InputError(
                f"grid={self.grid} of 's3' pooling must be a multiple of stride={self.stride}, because a strip keeps "
                "grid / stride of its cells"
            )
        self.generator = _check_generator(self, generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool ``x`` [B,C,...] to [B,C,...] of the same dtype."""
        window = self.windows_over(x)
        if self.kernel_size is None:
            return maximum(x, window)
        _check_draws(self, x)
        counts = window_counts(x, window)
        sizes = zip(x.shape[-self.rank :], window.padding, window.stride, counts, strict=True)
        lengths = tuple(min(count * stride, size + pad) for size, pad, stride, count in sizes)
        cells = _cells_of_stride_1(x, window, lengths)
        zeros, ones = (0,) * self.rank, (1,) * self.rank
        if not self.training:
            top = maximum(cells, Window(window.kernel_size, ones, zeros, window.dilation, False))
            return average(top, Window(window.stride, window.stride, zeros, ones, True))
        starts = [self._starts(axis, counts[axis], lengths[axis], x.device) for axis in range(self.rank)]
        return in_layout_of(_maximum_at(cells, starts, window), x)

    def _starts(self, axis: int, count: int, length: int, device: torch.device) -> torch.Tensor:
        """Return the positions, int64 [count], of the kept windows among the ``length`` of an axis."""
        if count == length:
            return torch.arange(count, device=device)
        return _draw_positions(count, self.stride[axis], self.grid[axis], self.uniform(length, axis, device))

    def uniform(self, count: int, axis: int, device: torch.device) -> torch.Tensor:
        """Draw ``count`` numbers from 0 to 1 for the positions of ``axis``."""
        return torch.rand(count, generator=self.generator, device=device)

    def own(self) -> str:
        """Return the grid unless it is the stride, and "own generator" if it does not draw from torch's global one."""
        words = [f"grid {'x'.join(map(str, self.grid))}"] if self.grid != self.stride else []
        return " ".join(words + ["own generator"] * (self.generator is not None))


def _cells_of_stride_1(x: torch.Tensor, window: Window, lengths: tuple[int, ...]) -> torch.Tensor:
    """Pad or cut ``x`` [B,C,...] so that ``lengths`` windows of stride 1 fit, the first where that of ``window`` is."""
    rank = len(lengths)
    extents = [(k - 1) * d + 1 for k, d in zip(window.kernel_size, window.dilation, strict=True)]
    pads: list[int] = []
    for axis, (length, extent) in enumerate(zip(lengths, extents, strict=True)):
        before = window.padding[axis]
        pads = [before, length - 1 + extent - before - x.shape[axis - rank], *pads]
    return functional.pad(x, pads, value=-torch.inf) if any(pads) else x


def _maximum_at(x: torch.Tensor, starts: Sequence[torch.Tensor], window: Window) -> torch.Tensor:
    """Return the maxima of the windows that start at the positions ``starts``, int64, of each axis of ``x`` [B,C,...].

    Their cells are copied next to each other, which takes less time than the maxima of all windows of stride 1. They
    are copied with all channels at once: one by one takes longer than to move the channels.
    """
    rank = len(starts)
    first = x.dim() - rank - 1  # the axis of the channels, and of the first of the others once they are moved
    x = x.movedim(first, -1).contiguous()
    for axis, (start, kernel, dilation) in enumerate(zip(starts, window.kernel_size, window.dilation, strict=True)):
        if kernel > 1 or len(start) < x.shape[first + axis]:
            cells = start[:, None] + torch.arange(0, kernel * dilation, dilation, device=x.device)
            x = x.index_select(first + axis, cells.flatten())
    zeros, ones = (0,) * rank, (1,) * rank
    return maximum(x.movedim(-1, first), Window(window.kernel_size, window.kernel_size, zeros, ones, False))


def _draw_positions(count: int, stride: int, grid: int, numbers: torch.Tensor) -> torch.Tensor:
    """Draw ``count`` positions in order: grid / stride of each strip of ``grid``, the rest of the last.

    ``numbers`` are random numbers from 0 to 1, one for each position. The positions of the smallest are a draw without
    replacement.
    """
    each = grid // stride
    full = min(count // each, len(numbers) // grid)
    strips, last = numbers[: full * grid].view(full, grid), numbers[full * grid :]
    kept = strips.argsort(-1)[:, :each].sort(-1).values
    kept = (kept + grid * torch.arange(full, device=kept.device)[:, None]).flatten()
    if full * each == count:
        return kept
    rest = last.argsort()[: count - full * each].sort().values
    return torch.cat((kept, rest + full * grid))


def _check_generator(pool: Pool, generator: object) -> torch.Generator | None:
    if generator is None or isinstance(generator, torch.Generator):
        return generator
    raise InputError(
        f"generator={generator!r} of '{pool.method}' pooling must be a torch.Generator. Remove it to use torch's "
        "global one, which torch.manual_seed seeds."
    )


def _check_draws(pool: StochasticPool | S3Pool, x: torch.Tensor) -> None:
    """Raise ``InputError`` if the generator is not on the device of ``x``, or would draw again in a backward pass."""
    if not pool.training or pool.generator is None:
        return
    if pool.generator.device.type != x.device.type:
        raise InputError(
            f"The generator of '{pool.method}' pooling is on {pool.generator.device}, the input on {x.device}. "
            f"Use torch.Generator('{x.device.type}')."
        )
    in_backward = not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
    if in_backward:
        raise InputError(
            f"'{pool.method}' pooling has its own generator, which torch.utils.checkpoint does not restore when it "
            "runs the layer again. Remove the generator, or take the layer out of the checkpoint."
        )
