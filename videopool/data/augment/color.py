"""Color jitter: brightness, contrast, saturation and hue of each clip, in a random order."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from videopool.data.augment.levels import brightness, contrast, hue, saturation, to_uint8
from videopool.data.augment.parts import parts, to_device
from videopool.ranges import HUE, ZERO_IS_OFF
from videopool.types import Place

_CHANGES = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}

# (property, strength of each clip float32 [B]), in the order in which the changes are made.
JitterDraws = tuple[tuple[str, np.ndarray], ...]


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Change the colors of each clip at random, as torchvision's ``ColorJitter`` does; 0 leaves a property unchanged.

    Every clip has its own factors. The order of the changes is drawn once for a batch, so that each is one pass over
    the batch.

    Attributes:
        brightness, contrast, saturation: a value b draws a factor from max(0, 1 - b) to 1 + b.
        hue: a value h (at most 0.5) draws a rotation from -h to h, where 1 is the whole color circle.

    Raises:
        InputError: if a value is out of range.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            ZERO_IS_OFF.check(name, getattr(self, name))
        HUE.check("hue", self.hue)

    def __call__(self, clips: torch.Tensor, rng: np.random.Generator, place: Place | None = None) -> torch.Tensor:
        """Return uint8 ``clips`` [B,3,T,H,W], augmented, as a new tensor; they are those at ``place`` of a step."""
        place = place or Place.of(len(clips))
        draws = self.draw(place.whole, rng)
        return jitter(clips, tuple((name, strength[place.clips]) for name, strength in draws))

    def draw(self, clips: int, rng: np.random.Generator) -> JitterDraws:
        """Draw the changes of a batch of ``clips`` clips."""
        ranges = {name: self._range(name) for name in _CHANGES}
        drawn = {name: rng.uniform(*span, size=clips).astype(np.float32) for name, span in ranges.items()}
        order = rng.permutation(list(_CHANGES))
        return tuple((name, drawn[name]) for name in order if getattr(self, name))

    def _range(self, name: str) -> tuple[float, float]:
        half = getattr(self, name)
        return (-half, half) if name == "hue" else (max(0.0, 1 - half), 1 + half)


def jitter(clips: torch.Tensor, draws: JitterDraws, *, at_once: int | None = None) -> torch.Tensor:
    """Make the changes ``draws`` to uint8 ``clips`` [B,3,T,H,W]; return a new uint8 tensor, rounded once, at the end.

    ``at_once``: see ``parts``.
    """
    result = torch.empty_like(clips)
    for chosen in parts(np.arange(len(clips)), clips.device, at_once):
        part = slice(chosen[0], chosen[-1] + 1)
        levels = clips[part].float()
        for name, strength in draws:
            _CHANGES[name](levels, to_device(strength[part], clips.device))
        result[part] = to_uint8(levels)
    return result
