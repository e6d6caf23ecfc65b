"""What happens to frames after decoding: cut and mirrored as uint8 in the worker, normalised on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from videopool.data.sampling import Crop


def crop_frames(frames: torch.Tensor, crop: Crop) -> torch.Tensor:
    """The part ``crop`` of frames [C,T,H,W] as a contiguous [C,T,size,size] of the same dtype."""
    rows = slice(crop.top, crop.top + crop.size)
    columns = slice(crop.left, crop.left + crop.size)
    square = frames[:, :, rows, columns]
    return (square.flip(3) if crop.flip else square).contiguous()


def normalize(
    clips: torch.Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """``(clips / 255 - mean) / std`` per channel, computed in float32 on the device of ``clips``.

    Args:
        clips: uint8 [B,C,T,H,W].
        mean, std: one number a channel, in units of 0..1.
        dtype: of the result.

    Raises:
        ValueError: if the clips are not uint8, or the number of channels differs.
    """
    if clips.dtype != torch.uint8 or clips.dim() != 5:
        raise ValueError(f"normalize takes uint8 [B,C,T,H,W], got {clips.dtype} {list(clips.shape)}")
    if not len(mean) == len(std) == clips.shape[1]:
        raise ValueError(f"mean {tuple(mean)} and std {tuple(std)} must have {clips.shape[1]} numbers, one a channel")
    shape = (1, -1, 1, 1, 1)
    centre = torch.tensor(mean, dtype=torch.float32, device=clips.device).mul_(255).view(shape)
    spread = torch.tensor(std, dtype=torch.float32, device=clips.device).mul_(255).view(shape)
    return clips.to(torch.float32).sub_(centre).div_(spread).to(dtype)
