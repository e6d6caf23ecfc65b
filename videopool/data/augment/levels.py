"""Color operations on a batch of clips: one strength for each clip, the same for all of its frames.

``levels`` is float32 [N,3,T,H,W] (red, green, blue) in 0..255, ``strength`` float32 [N] on the same device. Each
function changes the levels in place and returns them, because a copy would take longer than the arithmetic;
``to_uint8`` turns them into clips at the end.

The operations are those of Pillow's ``ImageOps`` and ``ImageEnhance``, with two differences. Statistics (mean,
extremes, histogram) are those of all frames of a clip; those of each frame would make it flicker, and flicker is motion
to a network. Results are rounded to the nearest level; Pillow truncates.
"""

from __future__ import annotations

import torch

_GRAY = (0.299, 0.587, 0.114)  # of red, green and blue, as in ITU-R BT.601
_LEVELS = 256


def to_uint8(levels: torch.Tensor) -> torch.Tensor:
    """Round ``levels`` to uint8; they are overwritten."""
    return levels.round_().clamp_(0, 255).to(torch.uint8)


def brightness(levels: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Multiply by ``strength`` (0: black, 1: unchanged)."""
    return levels.mul_(_per_clip(strength)).clamp_(0, 255)


def contrast(levels: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Multiply the difference from the clip's mean gray by ``strength`` (0: all gray, 1: unchanged)."""
    mean = _gray(levels).mean((1, 2, 3, 4))
    return levels.mul_(_per_clip(strength)).add_(_per_clip(mean * (1 - strength))).clamp_(0, 255)


def saturation(levels: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Multiply the difference from each pixel's gray by ``strength`` (0: no color, 1: unchanged)."""
    gray = _gray(levels).mul_(_per_clip(1 - strength))
    return levels.mul_(_per_clip(strength)).add_(gray).clamp_(0, 255)


def hue(levels: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Rotate hues by ``strength`` turns, from red to green to blue to red; value and saturation of HSV stay.

    With V the largest channel, X the largest less the smallest, and h the hue in sixths of a turn (Smith, "Color gamut
    transform pairs", 1978), a channel is ``V - X * clamp(min(k, 4 - k), 0, 1)``, where ``k = (n + h) mod 6`` and n is
    5, 3, 1 for red, green, blue.
    """
    red, green, blue = levels.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    per_chroma = 1 / chroma.clamp(min=1e-6)  # the hue of gray does not matter: it is multiplied by its chroma of 0
    after_red = torch.where(value == green, ((blue - red) * per_chroma).add_(2), ((red - green) * per_chroma).add_(4))
    angle = torch.where(value == red, (green - blue) * per_chroma, after_red).add_(6 * strength.view(-1, 1, 1, 1))
    for channel, n in enumerate((5, 3, 1)):
        k = (angle + n).remainder_(6)
        levels[:, channel] = value - torch.minimum(k, 4 - k).clamp_(0, 1).mul_(chroma)
    return levels


def autocontrast(levels: torch.Tensor) -> torch.Tensor:
    """Stretch each channel of a clip to 0..255; a channel with a single level stays."""
    smallest, largest = levels.flatten(2).aminmax(dim=2)
    several = largest > smallest
    scale = torch.where(several, 255 / (largest - smallest).clamp(min=1e-6), 1.0)
    offset = torch.where(several, -smallest * scale, 0.0)
    return levels.mul_(scale[..., None, None, None]).add_(offset[..., None, None, None]).clamp_(0, 255)


def equalize(levels: torch.Tensor) -> torch.Tensor:
    """Equalize the histogram of each channel of a clip as ``ImageOps.equalize`` does; levels must be whole numbers.

    With h the histogram and ``step`` the number of pixels below the highest level that occurs, divided by 255 and
    rounded down, level i becomes ``(step // 2 + h[0] + ... + h[i - 1]) // step``. If step is 0, levels stay.
    """
    index = levels.flatten(2).to(torch.int64)
    histogram = torch.zeros((*index.shape[:2], _LEVELS), dtype=torch.int64, device=levels.device)
    histogram.scatter_add_(2, index, torch.ones_like(index[:1, :1, :1]).expand_as(index))
    highest = index.amax(2, keepdim=True)
    step = (index.shape[2] - histogram.gather(2, highest)) // 255
    below = histogram.cumsum(2) - histogram
    table = ((step // 2 + below) // step.clamp(min=1)).clamp_(max=255)
    same = torch.arange(_LEVELS, device=levels.device).expand_as(table)
    table = torch.where(step > 0, table, same).to(levels.dtype)
    return levels.copy_(table.gather(2, index).view_as(levels))


def solarize(levels: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Invert levels of ``strength`` (0..256) and above: x becomes 255 - x."""
    return levels.copy_(torch.where(levels < _per_clip(strength), levels, 255 - levels))


def posterize(levels: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Keep the highest ``strength`` (1..8) bits of each level; levels must be whole numbers."""
    step = _per_clip(2 ** (8 - strength.round()))
    return levels.div_(step).floor_().mul_(step)


def sharpness(levels: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Multiply the difference from a smoothed frame by ``strength`` (0: smoothed, 1: unchanged, 2: sharpened).

    Smoothing weights a pixel by 5 / 13 and each of its eight neighbors by 1 / 13; pixels at the border stay.
    """
    inner = levels[..., 1:-1, 1:-1]
    rows = levels[..., :-2, :] + levels[..., 1:-1, :]
    rows += levels[..., 2:, :]
    smooth = rows[..., :-2] + rows[..., 1:-1]
    smooth += rows[..., 2:]
    smooth.add_(inner, alpha=4).mul_(_per_clip((1 - strength) / 13))
    inner.mul_(_per_clip(strength)).add_(smooth).clamp_(0, 255)
    return levels


def _gray(levels: torch.Tensor) -> torch.Tensor:
    """Return the gray levels [N,1,T,H,W] as a new tensor."""
    red, green, blue = _GRAY
    return (levels[:, 0:1] * red).add_(levels[:, 1:2], alpha=green).add_(levels[:, 2:3], alpha=blue)


def _per_clip(strength: torch.Tensor) -> torch.Tensor:
    return strength.view(-1, 1, 1, 1, 1)
