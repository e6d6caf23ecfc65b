"""Normalization of clips on their device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Normalize(nn.Module):
    """Compute ``(clips / 255 - mean) / std`` per channel, in float32, on the device of the clips.

    The result is in channels_last_3d order, in which 3D convolutions and SoftPool run fastest.

    Args:
        mean, std: one number per channel, for values in 0..1.

    Raises:
        ValueError: if mean and std have different lengths.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise ValueError(f"mean={tuple(mean)} and std={tuple(std)} must have one number per channel each")
        self.center = torch.tensor(mean, dtype=torch.float32).mul_(255).view(1, -1, 1, 1, 1)
        self.spread = torch.tensor(std, dtype=torch.float32).mul_(255).view(1, -1, 1, 1, 1)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return uint8 ``clips`` [B,C,T,H,W] as normalized float32 [B,C,T,H,W].

        Raises:
            ValueError: if the clips are not uint8, or their number of channels is not that of mean and std.
        """
        if clips.dtype != torch.uint8 or clips.dim() != 5:
            raise ValueError(f"Normalize takes uint8 [B,C,T,H,W], got {clips.dtype} {list(clips.shape)}")
        if clips.shape[1] != self.center.shape[1]:
            raise ValueError(f"clips have {clips.shape[1]} channels, mean and std {self.center.shape[1]}")
        if self.center.device != clips.device:
            self.center, self.spread = self.center.to(clips.device), self.spread.to(clips.device)
        # Contiguous until the end: with three channels innermost, the arithmetic would not be vectorized.
        return torch.sub(clips, self.center).div_(self.spread).contiguous(memory_format=torch.channels_last_3d)
