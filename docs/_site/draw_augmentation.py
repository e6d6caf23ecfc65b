"""Draw docs/augmentation.png: a clip of the demo's videos under each augmentation. Needs matplotlib.

Each strip shows three frames of the clip. The operations of RandAugment have magnitude 9 and always the same sign.
"""

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from videopool.data.augment import OPERATIONS
from videopool.data.augment.augmix import AugMixDraws, mix_chains
from videopool.data.augment.color import jitter
from videopool.data.augment.erase import ErasedBox, cover_boxes
from videopool.data.augment.mix import MixDraws, mix_clips
from videopool.data.augment.rand_augment import RandDraws, apply_operations
from videopool.data.synthetic import motion_frames

FRAMES, SIDE, MAGNITUDE, COLUMNS = 3, 112, 9.0, 4
FILL = (114.75, 114.75, 114.75)


def clip(motion: str, seed: int) -> torch.Tensor:
    """Return a clip uint8 [3,T,H,W]."""
    frames = motion_frames(motion, size=(SIDE, SIDE), frames=FRAMES, rng=np.random.default_rng(seed))
    return torch.from_numpy(frames).permute(3, 0, 1, 2).contiguous()


def strength(name: str, magnitude: float = MAGNITUDE) -> float:
    """Return the strength of an operation at a magnitude."""
    operation = OPERATIONS[name]
    return operation.mildest + magnitude / 10 * (operation.strongest - operation.mildest)


def strips(clips: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the first of two ``clips`` uint8 [3,T,H,W] under each augmentation; the second is mixed into it."""
    first = clips[:1]
    values = {"brightness": 1.3, "contrast": 0.7, "saturation": 1.4, "hue": 0.15}
    colors = tuple((name, np.full(1, value, dtype=np.float32)) for name, value in values.items())
    noise = np.random.default_rng(0).integers(0, 256, size=(3, 48, 40), dtype=np.uint8)
    shown = {"the clip": first[0], "color": jitter(first, colors)[0]}
    for name in sorted(set(OPERATIONS) - {"identity"}):
        draws = RandDraws(np.array([[name]]), np.array([[strength(name)]], dtype=np.float32))
        shown[f"rand_augment: {name}"] = apply_operations(first, draws, FILL)[0]
    chains = ("rotate", "posterize"), ("translate_x", "identity"), ("solarize", "shear_y")
    draws = [
        RandDraws(np.array(pair)[:, None], np.array([[strength(name, 5.0)] for name in pair], dtype=np.float32))
        for pair in chains
    ]
    shares = np.array([[0.4], [0.2], [0.2], [0.2]], dtype=np.float32)
    shown["augmix, clip weight 0.4"] = mix_chains(first, AugMixDraws(tuple(draws), shares), FILL)[0]
    shown["erase"] = cover_boxes(first, (ErasedBox(0, 30, 44, noise),))[0]
    partner, weights = np.array([1, 0]), np.full(2, 0.6, dtype=np.float32)
    box = np.array([[20, 40, 90, 110]] * 2)
    for name, cut in (("mixup, weight 0.6", False), ("cutmix", True)):
        shown[name] = mix_clips(clips, MixDraws(partner, weights, np.full(2, cut), box))[0]
    return shown


def main() -> None:
    shown = strips(torch.stack([clip("clockwise", 3), clip("right", 11)]))
    rows = -(-len(shown) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(13, 1.35 * rows))
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, frames) in zip(axes.flat, shown.items(), strict=False):
        apart = torch.nn.functional.pad(frames, (0, 4), value=255)
        axis.imshow(apart.permute(2, 1, 3, 0).flatten(1, 2).numpy(), interpolation="nearest")
        axis.set_title(name, fontsize=10)
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=72)
    reduced = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)  # reduces the file to a third
    reduced.save(Path(__file__).parents[1] / "augmentation.png", optimize=True)


if __name__ == "__main__":
    main()
