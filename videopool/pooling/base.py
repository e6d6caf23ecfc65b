"""The base class of all pooling methods: constructor, windows, shape rules and description.

All methods pool the same cells: padding belongs to no window, so the average divides by the number of real cells
(``count_include_pad=False``), as the maximum and SoftPool ignore padding by definition. Methods therefore differ in
their formula alone, also at the border.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from videopool.errors import InputError
from videopool.ops.window import Window

Sizes = int | Sequence[int]


def per_axis(value: Sizes, rank: int, name: str) -> tuple[int, ...]:
    """Return ``value`` as ``rank`` integers; a single number applies to every axis.

    Raises:
        InputError: for a sequence of another length than ``rank``, and for other types.
    """
    given = value if isinstance(value, Sequence) else (value,)
    try:
        numbers = tuple(operator.index(number) for number in given)
    except TypeError:
        raise InputError(f"{name}={value!r} must be an integer, or one for each axis") from None
    if len(numbers) not in (1, rank):
        raise InputError(f"{name}={numbers} has {len(numbers)} numbers; a rank-{rank} pool takes 1 or {rank}")
    return numbers * rank if len(numbers) == 1 else numbers


def describe_window(
    kernel_size: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> str:
    """Return a window as text, such as ``1x3x3 stride 1x2x2 padding 0x1x1``; ``global`` for the whole extent."""
    if kernel_size is None:
        return "global"
    words = [_times(kernel_size), "stride", _times(stride)]
    if any(padding):
        words += ["padding", _times(padding)]
    if any(step != 1 for step in dilation):
        words += ["dilation", _times(dilation)]
    return " ".join([*words, "ceil"] if ceil_mode else words)


def _times(numbers: Sequence[int]) -> str:
    return "x".join(str(number) for number in numbers)


class Pool(nn.Module):
    """A pooling layer over the last ``rank`` axes of [B,C,...] (or [C,...]).

    A method derives from this class and sets ``method`` to its name. Its own arguments are keywords after those of this
    constructor, which gets the rest. It creates parameters without torch's random generator (as zeros or constants),
    so that networks that differ in their pooling start with the same other weights.

    Args:
        rank: 1, 2 or 3 pooled axes.
        kernel_size: the window, one number or one for each axis; None pools the whole extent to one cell.
        stride: step between windows; None means ``kernel_size``.
        padding: cells added at both ends of each axis, at most half of the kernel; no window counts them.
        dilation: step between the cells of a window.
        ceil_mode: round the number of windows up, to keep a last window that is partly filled.
        channels: channels C of the input, for methods with parameters for each channel; others ignore it.

    Raises:
        InputError: for an impossible window, and for arguments that the method does not allow.
    """

    method: ClassVar[str]
    dilatable: ClassVar[bool] = True  # whether windows may have a dilation
    _per_channel: bool = False  # whether this layer has parameters for each channel

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
    ) -> None:
        super().__init__()
        if rank not in (1, 2, 3):
            raise InputError(f"rank={rank} must be 1, 2 or 3 (pooled axes)")
        self.rank = rank
        self.kernel_size = None if kernel_size is None else per_axis(kernel_size, rank, "kernel_size")
        own_stride = stride if stride is not None else self.kernel_size
        self.stride = per_axis(1 if own_stride is None else own_stride, rank, "stride")
        self.padding = per_axis(padding, rank, "padding")
        self.dilation = per_axis(dilation, rank, "dilation")
        self.ceil_mode = bool(ceil_mode)
        self.channels = channels
        self._check_window()

    @classmethod
    def needs_channels(cls, **arguments: Any) -> bool:
        """Return whether a layer with these own arguments has parameters for each channel: with learned="channel"."""
        return arguments.get("learned") == "channel"

    @classmethod
    def own_arguments(cls) -> tuple[str, ...]:
        """Return the names of this method's own keywords: those other than the window and ``channels``."""
        parameters = inspect.signature(cls).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "channels")

    def _check_window(self) -> None:
        sizes = (*(self.kernel_size or ()), *self.stride, *self.dilation)
        if min(sizes) < 1 or min(self.padding) < 0:
            raise InputError(f"Window {self.window()} has a size below 1 or a negative padding")
        if self.kernel_size is None and (any(self.padding) or max(*self.stride, *self.dilation) > 1):
            raise InputError("A global pool (kernel_size=None) takes no stride, padding or dilation")
        if any(2 * pad > kernel for kernel, pad in zip(self.kernel_size or (), self.padding, strict=False)):
            raise InputError(f"Window {self.window()} has a padding of more than half of its size")
        if not self.dilatable and any(step != 1 for step in self.dilation):
            raise InputError(
                f"'{self.method}' pooling does not allow dilation={self.dilation}. Use 'max' or 'soft' there."
            )

    def windows_over(self, x: torch.Tensor) -> Window:
        """Return the window that slides over ``x``; that of a global pool has the extent of ``x``.

        Raises:
            InputError: if ``x`` does not have the channels that the layer has parameters for.
        """
        if self._per_channel and x.dim() > self.rank and x.shape[-self.rank - 1] != self.channels:
            raise InputError(
                f"'{self.method}' pooling has parameters for each of {self.channels} channels, but the input has shape "
                f"{list(x.shape)}. Create the layer with channels={x.shape[-self.rank - 1]}."
            )
        if self.kernel_size is not None:
            return Window(self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        extent = tuple(x.shape[-self.rank :])
        return Window(extent, extent, self.padding, self.dilation, False)

    def _required_channels(self) -> int:
        """Return ``channels`` for parameters for each channel; raise ``InputError`` if it is missing or invalid."""
        if not isinstance(self.channels, int) or self.channels < 1:
            raise InputError(
                f"'{self.method}' pooling has parameters for each channel: channels={self.channels!r} must be 1 or more"
            )
        self._per_channel = True
        return self.channels

    def window(self) -> str:
        """Return the window in one line."""
        return describe_window(self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def own(self) -> str:
        """Return the method's own arguments that differ from their defaults, as text for ``describe``.

        ``swap`` treats layers of one description as equal.
        """
        parameters = inspect.signature(type(self)).parameters
        values = {name: getattr(self, name, parameters[name].default) for name in self.own_arguments()}
        changed = {name: value for name, value in values.items() if value != parameters[name].default}
        return " ".join(
            f"{name} ({value})" if name == "learned" else f"{name} {value!r}" for name, value in changed.items()
        )

    def describe(self) -> str:
        """Return the method, its own arguments and the window in one line, as swap reports print it."""
        return " ".join(filter(None, (self.method, self.own(), self.window())))

    def extra_repr(self) -> str:
        """Return the text that ``print(model)`` shows in brackets."""
        return ", ".join(filter(None, (self.window(), self.own())))
