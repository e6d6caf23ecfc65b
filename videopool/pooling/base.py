"""What every pooling method shares: one constructor shape, windows, shape rules, and the way a layer prints.

All methods see the same cells: a padded cell belongs to no window, so the average divides by the number of real
cells (``count_include_pad=False``), as the maximum and SoftPool ignore padding by definition. A comparison of
methods then differs in the formula alone, also at the border.
"""

from __future__ import annotations

import dataclasses
import inspect
import operator
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from videopool.errors import InputError

Sizes = int | Sequence[int]


@dataclasses.dataclass(frozen=True)
class Windows:
    """The windows of a layer over one input: sizes in cells, one for each pooled axis, none of them None."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool


def per_axis(value: Sizes, rank: int, name: str) -> tuple[int, ...]:
    """``value`` as ``rank`` plain integers; a single number stands for every axis.

    Raises:
        InputError: when a sequence has another length than ``rank``, and for what is no integer.
    """
    given = value if isinstance(value, Sequence) else (value,)
    try:
        numbers = tuple(operator.index(number) for number in given)
    except TypeError:
        raise InputError(f"{name} {value!r} is not made of integers; give one, or one for each axis") from None
    if len(numbers) not in (1, rank):
        raise InputError(f"{name} {numbers} has {len(numbers)} numbers; a rank-{rank} pool takes 1 or {rank}")
    return numbers * rank if len(numbers) == 1 else numbers


def describe_window(
    kernel_size: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> str:
    """One line for a window, such as ``1x3x3 stride 1x2x2 padding 0x1x1``; ``global`` for the whole extent."""
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

    A method derives from this class, names itself in ``method``, takes its own arguments as keywords behind those of
    this constructor, and hands the rest on. Parameters are created without drawing from torch's random generator
    (zeros or constants), so that networks that differ in their pooling begin with the same other weights.

    Args:
        rank: 1, 2 or 3 pooled axes.
        kernel_size: the window, one number or one for each axis; None pools the whole extent to one cell.
        stride: step between windows; None means ``kernel_size``.
        padding: cells added at both ends of each axis, which no window counts; at most half of the kernel.
        dilation: step between the cells of a window.
        ceil_mode: round the number of windows up, so that a last, partly filled window is kept.
        channels: channels C of the input, for methods that have parameters for each; others ignore it.

    Raises:
        InputError: for a window that cannot exist, and for arguments that the method refuses.
    """

    method: ClassVar[str]
    dilatable: ClassVar[bool] = True  # whether the method's windows may have a dilation
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
            raise InputError(f"rank {rank} is not 1, 2 or 3 pooled axes")
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
        """Whether a layer with these arguments of its own has parameters for each channel."""
        return False

    @classmethod
    def own_arguments(cls) -> tuple[str, ...]:
        """The names of the keywords that this method takes beside the window and ``channels``."""
        parameters = inspect.signature(cls).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "channels")

    def _check_window(self) -> None:
        sizes = (*(self.kernel_size or ()), *self.stride, *self.dilation)
        if min(sizes) < 1 or min(self.padding) < 0:
            raise InputError(f"window {self.window()} has a size below 1 or a negative padding")
        if self.kernel_size is None and (any(self.padding) or max(*self.stride, *self.dilation) > 1):
            raise InputError("a global pool (kernel_size=None) takes no stride, padding or dilation")
        if any(2 * pad > kernel for kernel, pad in zip(self.kernel_size or (), self.padding, strict=False)):
            raise InputError(f"window {self.window()} is padded by more than half of its size")
        if not self.dilatable and any(step != 1 for step in self.dilation):
            raise InputError(
                f"'{self.method}' pooling has no dilation, got {self.dilation}; take 'max' or 'soft' there"
            )

    def _windows(self, x: torch.Tensor) -> Windows:
        """The windows over ``x``: a global pool has one, as large as ``x`` is.

        Raises:
            InputError: ``x`` has other channels than those that the layer has parameters for.
        """
        if self._per_channel and x.dim() > self.rank and x.shape[-self.rank - 1] != self.channels:
            raise InputError(
                f"'{self.method}' pooling has parameters for each of {self.channels} channels, got an input of shape "
                f"{list(x.shape)}; make the layer with channels={x.shape[-self.rank - 1]}"
            )
        if self.kernel_size is not None:
            return Windows(self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        extent = tuple(x.shape[-self.rank :])
        return Windows(extent, extent, self.padding, self.dilation, False)

    def _required_channels(self) -> int:
        """``channels``, for parameters for each; refused where it is missing or is no number of channels."""
        if not isinstance(self.channels, int) or self.channels < 1:
            raise InputError(
                f"'{self.method}' pooling has parameters for each channel; give channels=, got {self.channels!r}"
            )
        self._per_channel = True
        return self.channels

    def window(self) -> str:
        """The window in one line."""
        return describe_window(self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def own(self) -> str:
        """The method's own arguments where they are not the default, in words; empty when all are."""
        return ""

    def describe(self) -> str:
        """Method, its own arguments, and window in one line: what a swap report prints."""
        return " ".join(filter(None, (self.method, self.own(), self.window())))

    def extra_repr(self) -> str:
        """What ``print(model)`` shows between the brackets."""
        return ", ".join(filter(None, (self.window(), self.own())))
