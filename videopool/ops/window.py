"""The window of a pooling operation: argument checks and output sizes, by the rules of torch's max pooling.

Shape legend: N batch, C channels, D depth (frames), H rows, W columns; ``rank`` is the number of pooled axes.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import NamedTuple

IntOrTuple = int | Sequence[int]


class Window(NamedTuple):
    """Kernel, stride, padding and dilation of one pooling operation, each a tuple with one int per pooled axis."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool

    def as_rank3(self) -> Window:
        """Return the same window over [D,H,W], with one cell along the axes that are not pooled."""
        missing = 3 - len(self.kernel_size)
        ones, zeros = (1,) * missing, (0,) * missing
        return Window(
            ones + self.kernel_size, ones + self.stride, zeros + self.padding, ones + self.dilation, self.ceil_mode
        )


def make_window(
    rank: int,
    kernel_size: IntOrTuple,
    stride: IntOrTuple | None,
    padding: IntOrTuple,
    dilation: IntOrTuple,
    ceil_mode: bool,
) -> Window:
    """Check the arguments of a pooling operation over ``rank`` axes and return them with one int for each axis.

    Raises:
        TypeError: if an argument is not an int or a sequence of ints, or ``ceil_mode`` is not a bool.
        ValueError: for a wrong number of ints, a value out of range, or a padding over half of the kernel size.
    """
    kernel = _spread(rank, "kernel_size", kernel_size, minimum=1)
    steps = kernel if _is_missing(stride) else _spread(rank, "stride", stride, minimum=1)
    gaps = _spread(rank, "dilation", dilation, minimum=1)
    pads = _spread(rank, "padding", padding, minimum=0)
    if not isinstance(ceil_mode, bool):
        raise TypeError(f"ceil_mode={ceil_mode!r} must be True or False")
    for k, p in zip(kernel, pads, strict=True):
        if p > k // 2:
            raise ValueError(
                f"padding={padding} must be at most half of kernel_size={kernel_size} ({k // 2} on that axis)"
            )
    return Window(kernel, steps, pads, gaps, ceil_mode)


def output_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """Return the number of windows along one axis of ``size`` cells; below 1 if the window does not fit.

    With ``ceil_mode`` a last, partial window counts if it starts inside the input or the padding before it.
    """
    room = size + 2 * padding - (kernel - 1) * dilation - 1
    windows = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (windows - 1) * stride >= size + padding:
        windows -= 1
    return windows


def output_sizes(sizes: Sequence[int], window: Window) -> tuple[int, ...]:
    """Return the number of windows along each pooled axis.

    Raises:
        ValueError: if an axis is empty, or the window does not fit it.
    """
    counts = []
    for size, k, s, p, d in zip(sizes, *window[:4], strict=True):
        count = output_size(size, k, s, p, d, window.ceil_mode)
        if size < 1 or count < 1:
            raise ValueError(
                f"A window of kernel_size={k}, padding={p}, dilation={d} does not fit an axis of {size} cells "
                f"(pooled sizes {list(sizes)}). Use a smaller kernel or a larger input."
            )
        counts.append(count)
    return tuple(counts)


def adaptive_sizes(sizes: Sequence[int], output_size: int | Sequence[int | None] | None) -> tuple[int, ...]:
    """Return the number of results of adaptive pooling along each pooled axis; None keeps the size of an axis.

    Raises:
        TypeError: for an entry that is not an int.
        ValueError: for a wrong number of entries, one below 1, or an empty axis.
    """
    entries = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * len(sizes)
    if len(entries) != len(sizes):
        raise ValueError(f"output_size={output_size!r} must be one int or {len(sizes)} of them, not {len(entries)}")
    kept = [size if entry is None else entry for size, entry in zip(sizes, entries, strict=True)]
    if min(sizes) < 1:
        raise ValueError(f"An axis is empty (pooled sizes {list(sizes)}), but only the batch may be empty")
    return tuple(_as_positive("output_size", output_size, entry) for entry in kept)


def _is_missing(stride: IntOrTuple | None) -> bool:
    """Return whether the stride is the kernel size: None, or an empty tuple, which torch allows."""
    return stride is None or (isinstance(stride, (tuple, list)) and len(stride) == 0)


def _spread(rank: int, name: str, value: IntOrTuple | None, minimum: int) -> tuple[int, ...]:
    numbers = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(numbers) not in (1, rank):
        raise ValueError(f"{name}={value!r} must be one int or {rank} of them, not {len(numbers)}")
    for entry in numbers:
        if type(entry) is not int:
            numbers = tuple(_as_int(name, value, entry) for entry in numbers)
            break
    if min(numbers) < minimum:
        raise ValueError(f"{name}={value!r} must be {minimum} or more")
    return numbers * rank if len(numbers) == 1 else numbers


def _as_positive(name: str, value: object, entry: object) -> int:
    number = _as_int(name, value, entry)
    if number < 1:
        raise ValueError(f"{name}={value!r} must be 1 or more")
    return number


def _as_int(name: str, value: object, entry: object) -> int:
    if isinstance(entry, bool) or not hasattr(entry, "__index__"):
        raise TypeError(f"{name}={value!r} must be an int or a tuple of ints")
    return operator.index(entry)
