"""Random erasing (Zhong, Zheng, Kang, Li, Yang, "Random Erasing Data Augmentation", AAAI 2020)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from videopool.data.augment.parts import sent
from videopool.errors import InputError

AREA = (0.02, 0.4)  # of the box, parts of the frame: s_l and s_h of the paper
RATIO = (0.3, 1 / 0.3)  # its height over its width: r_1 and r_2
_TRIES = 20  # boxes drawn until one fits into the frame; 29 of 30 drawn fit a square frame


@dataclasses.dataclass(frozen=True)
class Erased:
    """A box of one clip of a batch, the same in all frames, and the picture that covers it: uint8 [C,rows,columns]."""

    clip: int
    top: int
    left: int
    picture: np.ndarray


@dataclasses.dataclass(frozen=True)
class Erase:
    """Covers a box of a clip with random levels, with a chance of ``probability``.

    The box has an area of ``AREA`` and a shape of ``RATIO``, whose logarithm is drawn evenly, so that a shape is as
    likely as the same shape turned. Box and levels are the same in all frames, so that nothing moves but the video.

    Raises:
        InputError: for a chance outside of 0..1.
    """

    probability: float

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise InputError(f"probability of erasing {self.probability}: expected 0 to 1")

    def __call__(self, clips: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """uint8 [B,C,T,H,W] to another uint8 [B,C,T,H,W]."""
        return erased(clips, self.draw(clips.shape, rng))

    def draw(self, shape: torch.Size, rng: np.random.Generator) -> tuple[Erased, ...]:
        """The boxes of a batch of ``shape`` [B,C,T,H,W]."""
        clips, channels, _, height, width = shape
        chosen = np.flatnonzero(rng.random(clips) < self.probability)
        boxes = [(int(clip), _box(height, width, rng)) for clip in chosen]
        return tuple(
            Erased(clip, top, left, rng.integers(0, 256, size=(channels, rows, columns), dtype=np.uint8))
            for clip, (top, left, rows, columns) in boxes
        )


def erased(clips: torch.Tensor, boxes: tuple[Erased, ...]) -> torch.Tensor:
    """``clips`` [B,C,T,H,W] with the ``boxes`` covered, as another tensor."""
    result = clips.clone()
    for box in boxes:
        picture = sent(box.picture, clips.device)
        rows, columns = picture.shape[1:]
        result[box.clip, :, :, box.top : box.top + rows, box.left : box.left + columns] = picture[:, None]
    return result


def _box(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """(top, left, rows, columns) within frames [height, width]; no rows and columns if none of many shapes fits."""
    for _ in range(_TRIES):
        area = height * width * rng.uniform(*AREA)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        rows, columns = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if rows <= height and columns <= width:
            return int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1)), rows, columns
    return 0, 0, 0, 0
