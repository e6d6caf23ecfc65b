"""The slow reference of the pooling tests: every window by torch's shape rule, cell by cell."""

import itertools
from collections.abc import Callable, Iterator

import torch

Place = tuple[int, ...]


def starts(size: int, kernel: int, stride: int, padding: int, ceil_mode: bool, dilation: int = 1) -> list[int]:
    """Return where windows start on one axis; by torch's rule, the last one in the input or its left padding."""
    room = size + 2 * padding - (dilation * (kernel - 1) + 1)
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    return [index * stride - padding for index in range(count)]


def windows(
    sizes, kernel, stride, padding, ceil_mode, dilation=None
) -> Iterator[tuple[Place, list[tuple[Place, int]]]]:
    """Yield each window's position in the result, and the positions and kernel indices of its real cells."""
    dilation = dilation or (1,) * len(sizes)
    axes = [
        starts(*numbers, ceil_mode, d) for *numbers, d in zip(sizes, kernel, stride, padding, dilation, strict=True)
    ]
    for place in itertools.product(*(range(len(axis)) for axis in axes)):
        cells = []
        for number, taps in enumerate(itertools.product(*(range(k) for k in kernel))):
            cell = tuple(axis[index] + tap * d for axis, index, tap, d in zip(axes, place, taps, dilation, strict=True))
            if all(0 <= at < size for at, size in zip(cell, sizes, strict=True)):
                cells.append((cell, number))
        yield place, cells


def pooled_slowly(
    x: torch.Tensor, formula: Callable, kernel, stride, padding, ceil_mode, dilation=None
) -> torch.Tensor:
    """Pool [C,...] window by window; cells outside the input are in no window.

    ``formula(cells, channel, numbers)`` takes the real cells [n], their channel, and the place of each in the kernel.
    """
    found = list(windows(x.shape[1:], kernel, stride, padding, ceil_mode, dilation))
    sizes = [max(at) + 1 for at in zip(*(place for place, _ in found), strict=True)]
    out = torch.empty(x.shape[0], *sizes, dtype=x.dtype)
    for channel in range(x.shape[0]):
        for place, cells in found:
            values = torch.stack([x[(channel, *cell)] for cell, _ in cells])
            out[(channel, *place)] = formula(values, channel, [number for _, number in cells])
    return out


# kernel, stride, padding, ceil_mode
WINDOWS = [
    ((2,), (2,), (0,), False),
    ((3,), (2,), (1,), True),
    ((2, 2), (2, 2), (0, 0), True),
    ((3, 2), (2, 1), (1, 0), False),
    ((1, 3, 3), (1, 2, 2), (0, 1, 1), False),
    ((3, 2, 3), (2, 2, 1), (1, 1, 0), True),
    ((7, 2), (3, 2), (0, 0), True),  # longer than the axis: one window, all of its cells
    ((7, 2, 2), (3, 2, 2), (0, 0, 0), True),
    ((2, 1), (3, 2), (1, 0), True),  # gaps between the windows
]


def sizes_for(kernel: tuple[int, ...]) -> tuple[int, ...]:
    """Return an input that fits every case of WINDOWS."""
    return (5, 7, 6)[: len(kernel)]


def draws(*shape: int, seed: int = 1) -> torch.Tensor:
    """Return normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
