"""Local importance pooling: a small network computes the weights of a window from the same activation."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from videopool.errors import InputError
from videopool.pooling.base import Pool, Sizes
from videopool.pooling.cells import in_layout_of, precise
from videopool.pooling.weighted import softmax_pool

_CONVOLUTION: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}

LOGITS = ("simple", "bottleneck")
WIDTH = 128  # channels in the bottleneck: the paper's Bottleneck-128
GATE = 12.0  # the largest logit: weights of a window are within a factor of e^12 of each other
SEED = 0


class LIPPool(Pool):
    """LIP (Gao, Wang, Wu, "LIP: Local Importance-based Pooling", ICCV 2019): ``sum_i w_i x_i``, ``w = softmax(G(x))``.

    The logits ``G(x)``, one for each cell and channel, are learned by one of two networks of the paper::

        simple        conv 3 -> norm -> 12 sigmoid
        bottleneck    conv 1 -> norm -> relu -> conv 3 -> norm -> relu -> conv 1 -> norm -> 12 sigmoid

    Convolutions have no bias and the paper's extents along every pooled axis (3x3x3 for three axes). ``norm`` is an
    affine instance norm, as in the authors' code, so training and evaluation compute the same. The last convolution
    starts at zero: logits are equal, and the layer starts as average pooling. The bottleneck has 128 channels, or
    ``channels`` if these are fewer; its other convolutions start with the authors' normal distribution, drawn from
    their own generator with a fixed seed. Parameters have the dtype of the input, as for a convolution; for half
    precision, norm and gate are computed in float32.

    Args:
        channels: channels C of the input; required.
        logits: "simple" or "bottleneck".

    Raises:
        InputError: for missing channels and unknown logits.
    """

    method = "lip"

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
        logits: str = "simple",
    ) -> None:
        super().__init__(rank, kernel_size, stride, padding, dilation, ceil_mode, channels=channels)
        if logits not in LOGITS:
            raise InputError(f"logits={logits!r} of 'lip' pooling must be 'simple' or 'bottleneck'")
        self.logits = logits
        count = self._required_channels()
        width = min(WIDTH, count)
        layout = ([count, count], [3]) if logits == "simple" else ([count, width, width, count], [1, 3, 1])
        self.importance = Importance(rank, *layout)

    @classmethod
    def needs_channels(cls, **arguments: Any) -> bool:
        """Return True: the logits are convolutions."""
        return True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool ``x`` [B,C,...] to [B,C,...] of the same dtype."""
        window = self.windows_over(x)
        batch = x if x.dim() == self.rank + 2 else x.unsqueeze(0)
        y = softmax_pool(x, self.importance(batch).view_as(x), window)
        return in_layout_of(y, x).to(x.dtype)

    def own(self) -> str:
        """Return the kind of logits unless it is the simple one."""
        return "" if self.logits == "simple" else self.logits


class Importance(nn.Module):
    """The network of the logits: convolutions, each with an instance norm, ReLUs between, a sigmoid at the end.

    The last convolution starts at zero, the others with the normal distribution of He et al. (fan out), drawn from a
    generator with a fixed seed instead of torch's global one.
    """

    def __init__(self, rank: int, channels: list[int], extents: list[int]) -> None:
        super().__init__()
        sizes = zip(channels[:-1], channels[1:], extents, strict=True)
        self.convolutions = nn.ModuleList(_convolution(rank, before, after, extent) for before, after, extent in sizes)
        self.norms = nn.ModuleList(InstanceNorm(count) for count in channels[1:])
        generator = torch.Generator().manual_seed(SEED)
        with torch.no_grad():
            for convolution in self.convolutions[:-1]:
                weight = cast(torch.Tensor, convolution.weight)
                deviation = math.sqrt(2 / (weight.shape[0] * weight[0, 0].numel()))
                weight.copy_(deviation * torch.randn(weight.shape, generator=generator, device="cpu"))
            cast(torch.Tensor, self.convolutions[-1].weight).zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits [B,C,...] between 0 and 12 of ``x`` [B,C,...]; float32 for half precision."""
        dtype = x.dtype
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = norm(convolution(functional.relu(x).to(dtype) if index else x))
        return GATE * torch.sigmoid(x)


class InstanceNorm(nn.Module):
    """Instance norm over all axes after [B,C], with a weight and a bias for each channel; half precision in float32.

    Unlike torch's it accepts an extent of one cell, which is its own mean: the result is the bias.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize ``x`` [B,C,...] to [B,C,...] in the dtype of the computation."""
        x = precise(x)
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        if math.prod(x.shape[2:]) > 1 and x.shape[0] > 0:
            return functional.instance_norm(x, weight=weight, bias=bias, eps=self.eps)
        shape = (-1, *(1,) * (x.dim() - 2))
        return (x - x) * weight.view(shape) + bias.view(shape)

    def extra_repr(self) -> str:
        """Return the number of channels as text."""
        return str(self.weight.numel())


def _convolution(rank: int, before: int, after: int, extent: int) -> nn.Module:
    """Return a convolution without bias that keeps the sizes; its weights are uninitialized.

    torch's constructors draw from the global generator; ``skip_init`` does not.
    """
    device = torch.get_default_device()
    return nn.utils.skip_init(_CONVOLUTION[rank], before, after, extent, padding=extent // 2, bias=False, device=device)
