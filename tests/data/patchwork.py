"""Small clips of colored patches, for tests of augmentation."""

from __future__ import annotations

import numpy as np
import torch


def some_clips(count: int = 4, frames: int = 3, height: int = 20, width: int = 24, seed: int = 0) -> torch.Tensor:
    """Return uint8 [count,3,T,H,W]: colored patches with noise, later frames darker, no level 0 or 255 in clip 0."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(40, 200, size=(count, 3, frames, height // 4, width // 4)).repeat(4, 3).repeat(4, 4)
    clips = np.clip(patches - 15 * np.arange(frames)[:, None, None] + rng.normal(0, 6, size=patches.shape), 1, 254)
    clips[1:, :, 0, 0, 0], clips[1:, :, 0, 0, 1] = 0, 255
    return torch.from_numpy(clips.astype(np.uint8))
