"""Color jitter: brightness, contrast, saturation and hue of each clip, in a random order."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from videopool.data.augment.levels import brightness, contrast, hue, quantized, saturation
from videopool.data.augment.parts import parts, sent
from videopool.errors import InputError

_CHANGES = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}

# Changes in the order in which they are made, each with its strength for every clip, float32 [B].
JitterDraws = tuple[tuple[str, np.ndarray], ...]


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Random colors of clips, in the ranges of torchvision's ``ColorJitter``; 0 leaves a property alone.

    Attributes:
        brightness, contrast, saturation: ``b`` draws a factor from max(0, 1 - b) to 1 + b.
        hue: ``h`` (at most 0.5) draws a turn from -h to h, in whole turns.

    Every clip has factors of its own. The order of the changes is drawn once for a batch, so that each can be one pass
    over the whole of it.

    Raises:
        InputError: for a range that there is not.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"color {name} of {getattr(self, name)}: expected 0 (off) or more")
        if not 0 <= self.hue <= 0.5:
            raise InputError(f"color hue of {self.hue}: expected 0 (off) to 0.5, half a turn either way")

    def __call__(self, clips: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """uint8 [B,3,T,H,W] to another uint8 [B,3,T,H,W]."""
        return jitter(clips, self.draw(len(clips), rng))

    def draw(self, clips: int, rng: np.random.Generator) -> JitterDraws:
        """What is done to a batch of ``clips``."""
        ranges = {name: self._range(name) for name in _CHANGES}
        drawn = {name: rng.uniform(*span, size=clips).astype(np.float32) for name, span in ranges.items()}
        order = rng.permutation(list(_CHANGES))
        return tuple((name, drawn[name]) for name in order if getattr(self, name))

    def _range(self, name: str) -> tuple[float, float]:
        half = getattr(self, name)
        return (-half, half) if name == "hue" else (max(0.0, 1 - half), 1 + half)


def jitter(clips: torch.Tensor, draws: JitterDraws, *, at_once: int | None = None) -> torch.Tensor:
    """The changes ``draws`` of uint8 ``clips`` [B,3,T,H,W], as another uint8 tensor; rounded once, after the last.

    ``at_once``: see ``parts``.
    """
    result = torch.empty_like(clips)
    for chosen in parts(np.arange(len(clips)), clips.device, at_once):
        part = slice(chosen[0], chosen[-1] + 1)
        levels = clips[part].float()
        for name, strength in draws:
            _CHANGES[name](levels, sent(strength[part], clips.device))
        result[part] = quantized(levels)
    return result
