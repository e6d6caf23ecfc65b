"""The pooling functions as modules, with the constructor arguments of the functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch

from videopool.ops import functional
from videopool.ops.functional import check_beta
from videopool.ops.window import IntOrTuple, make_window


class _SoftPool(torch.nn.Module):
    """The base of the three modules: arguments, which the constructor checks, and printing."""

    rank: ClassVar[int]
    pool: ClassVar[Callable[..., torch.Tensor]]

    def __init__(
        self,
        kernel_size: IntOrTuple,
        stride: IntOrTuple | None = None,
        padding: IntOrTuple = 0,
        dilation: IntOrTuple = 1,
        ceil_mode: bool = False,
        *,
        beta: float | torch.nn.Parameter = 1.0,
        detach_weights: bool = False,
        relu: bool = False,
    ) -> None:
        super().__init__()
        window = make_window(self.rank, kernel_size, stride, padding, dilation, ceil_mode)
        self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode = window
        check_beta(beta)
        self.beta = beta  # a Parameter is trained with the network
        self.detach_weights = bool(detach_weights)
        self.relu = bool(relu)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool ``x``: [N,C,...] or [C,...] with the pooled axes last; see :func:`videopool.ops.soft_pool3d`."""
        return type(self).pool(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            beta=self.beta,
            detach_weights=self.detach_weights,
            relu=self.relu,
        )

    def extra_repr(self) -> str:
        """Return the arguments as in the constructor, without defaults that torch omits too."""
        parts = [f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"]
        if self.dilation != (1,) * self.rank:
            parts.append(f"dilation={self.dilation}")
        if self.ceil_mode:
            parts.append("ceil_mode=True")
        parts.append(f"beta={self.beta:g}" if not isinstance(self.beta, torch.Tensor) else "beta learned")
        if self.detach_weights:
            parts.append("detach_weights=True")
        if self.relu:
            parts.append("relu=True")
        return ", ".join(parts)


class SoftPool1d(_SoftPool):
    """:func:`videopool.ops.soft_pool1d` as a module, for ``x`` [N,C,L] or [C,L]."""

    rank = 1
    pool = staticmethod(functional.soft_pool1d)


class SoftPool2d(_SoftPool):
    """:func:`videopool.ops.soft_pool2d` as a module, for ``x`` [N,C,H,W] or [C,H,W]."""

    rank = 2
    pool = staticmethod(functional.soft_pool2d)


class SoftPool3d(_SoftPool):
    """:func:`videopool.ops.soft_pool3d` as a module, for ``x`` [N,C,D,H,W] or [C,D,H,W]."""

    rank = 3
    pool = staticmethod(functional.soft_pool3d)


class _AdaptiveSoftPool(torch.nn.Module):
    """The base of the three adaptive modules."""

    pool: ClassVar[Callable[..., torch.Tensor]]

    def __init__(
        self, output_size: int | Sequence[int | None] | None, *, beta: float = 1.0, detach_weights: bool = False
    ) -> None:
        super().__init__()
        check_beta(beta)
        self.output_size = output_size
        self.beta = beta
        self.detach_weights = bool(detach_weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool ``x``: [N,C,...] or [C,...] with the pooled axes last; see :func:`adaptive_soft_pool3d`."""
        return type(self).pool(x, self.output_size, beta=self.beta, detach_weights=self.detach_weights)

    def extra_repr(self) -> str:
        """Return the arguments as in the constructor."""
        return f"output_size={self.output_size}, beta={self.beta:g}" + (
            ", detach_weights=True" if self.detach_weights else ""
        )


class AdaptiveSoftPool1d(_AdaptiveSoftPool):
    """:func:`videopool.ops.adaptive_soft_pool1d` as a module, for ``x`` [N,C,L] or [C,L]."""

    pool = staticmethod(functional.adaptive_soft_pool1d)


class AdaptiveSoftPool2d(_AdaptiveSoftPool):
    """:func:`videopool.ops.adaptive_soft_pool2d` as a module, for ``x`` [N,C,H,W] or [C,H,W]."""

    pool = staticmethod(functional.adaptive_soft_pool2d)


class AdaptiveSoftPool3d(_AdaptiveSoftPool):
    """:func:`videopool.ops.adaptive_soft_pool3d` as a module, for ``x`` [N,C,D,H,W] or [C,D,H,W]."""

    pool = staticmethod(functional.adaptive_soft_pool3d)
