"""Random erasing (Zhong, Zheng, Kang, Li, Yang, "Random Erasing Data Augmentation", AAAI 2020)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from videopool.data.augment.parts import to_device
from videopool.ranges import FRACTION
from videopool.types import Place

AREA = (0.02, 0.4)  # of the box, as a fraction of the frame: s_l and s_h of the paper
RATIO = (0.3, 1 / 0.3)  # height over width of the box: r_1 and r_2
_TRIES = 20  # boxes that are drawn until one fits the frame; 29 of 30 fit a square frame


@dataclasses.dataclass(frozen=True)
class ErasedBox:
    """The box of one clip, the same in all frames, and the ``picture`` uint8 [C,rows,columns] that covers it."""

    clip: int
    top: int
    left: int
    picture: np.ndarray


@dataclasses.dataclass(frozen=True)
class Erase:
    """Cover a box of a clip with random levels, with the probability ``probability``.

    The area of the box is drawn uniformly from ``AREA``, the logarithm of its height over width from ``RATIO``, so that
    upright and lying boxes are equally likely. Box and levels are the same in all frames: nothing moves but the video.

    Raises:
        InputError: if ``probability`` is not from 0 to 1.
    """

    probability: float

    def __post_init__(self) -> None:
        FRACTION.check("probability", self.probability)

    def __call__(self, clips: torch.Tensor, rng: np.random.Generator, place: Place | None = None) -> torch.Tensor:
        """Return uint8 ``clips`` [B,C,T,H,W], augmented, as a new tensor; they are those at ``place`` of a step."""
        place = place or Place.of(len(clips))
        boxes = self.draw(torch.Size((place.whole, *clips.shape[1:])), rng)
        own = range(place.first, place.first + place.size)
        return cover_boxes(
            clips, tuple(dataclasses.replace(box, clip=box.clip - place.first) for box in boxes if box.clip in own)
        )

    def draw(self, shape: torch.Size, rng: np.random.Generator) -> tuple[ErasedBox, ...]:
        """Draw the boxes of a batch of ``shape`` [B,C,T,H,W]."""
        clips, channels, _, height, width = shape
        chosen = np.flatnonzero(rng.random(clips) < self.probability)
        boxes = [(int(clip), _box(height, width, rng)) for clip in chosen]
        return tuple(
            ErasedBox(clip, top, left, rng.integers(0, 256, size=(channels, rows, columns), dtype=np.uint8))
            for clip, (top, left, rows, columns) in boxes
        )


def cover_boxes(clips: torch.Tensor, boxes: tuple[ErasedBox, ...]) -> torch.Tensor:
    """Return ``clips`` [B,C,T,H,W] with the ``boxes`` covered, as a new tensor."""
    result = clips.clone()
    for box in boxes:
        picture = to_device(box.picture, clips.device)
        rows, columns = picture.shape[1:]
        result[box.clip, :, :, box.top : box.top + rows, box.left : box.left + columns] = picture[:, None]
    return result


def _box(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Return (top, left, rows, columns) of a box in a frame [height, width]; 0 rows and columns if none fits."""
    for _ in range(_TRIES):
        area = height * width * rng.uniform(*AREA)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        rows, columns = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if rows <= height and columns <= width:
            return int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1)), rows, columns
    return 0, 0, 0, 0
