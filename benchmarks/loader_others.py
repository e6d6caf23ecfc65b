"""Load the same clips with other loaders: decord as in its tutorials, and pytorchvideo.

Each returns random clips as normalized float32 [C,T,H,W]: T frames, scaled, cropped to a random square, and flipped
half of the time.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from videopool.data.sampling import ClipSampling

Sample = Callable[[int], torch.Tensor]
MEAN, STD = 0.45, 0.225


class DecordClips(Dataset[torch.Tensor]):
    """Clips read by decord with its defaults: full frame size, and as many threads as decord chooses."""

    def __init__(self, paths: Sequence[str], sampling: ClipSampling, samples: int) -> None:
        self.paths = list(paths)
        self.sampling = sampling
        self.samples = samples

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> torch.Tensor:
        import decord

        sampling = self.sampling
        rng = np.random.default_rng(index)
        reader = decord.VideoReader(self.paths[index % len(self.paths)])
        span = (sampling.frames - 1) * sampling.stride + 1
        start = int(rng.integers(max(len(reader) - span + 1, 1)))
        wanted = np.minimum(start + sampling.stride * np.arange(sampling.frames), len(reader) - 1)
        frames = torch.from_numpy(reader.get_batch(wanted).asnumpy()).permute(0, 3, 1, 2).float() / 255
        short = int(rng.integers(sampling.scale[0], sampling.scale[1] + 1))
        height, width = frames.shape[2:]
        size = (round(height * short / min(height, width)), round(width * short / min(height, width)))
        frames = torch.nn.functional.interpolate(frames, size=size, mode="bilinear", align_corners=False)
        top = int(rng.integers(size[0] - sampling.crop + 1))
        left = int(rng.integers(size[1] - sampling.crop + 1))
        clip = frames[:, :, top : top + sampling.crop, left : left + sampling.crop]
        if rng.random() < 0.5:
            clip = clip.flip(3)
        return ((clip - MEAN) / STD).transpose(0, 1).contiguous()


def pytorchvideo_clips(paths: Sequence[str], sampling: ClipSampling, fps: float, samples: int) -> Any:
    """Return pytorchvideo's LabeledVideoDataset with the transforms of its tutorial.

    It yields one dictionary per path, so the paths are repeated until there are ``samples`` of them.
    """
    if importlib.util.find_spec("torchvision.transforms.functional_tensor") is None:
        # pytorchvideo 0.1.5 imports a module that torchvision 0.17 removed.
        import torchvision.transforms.functional as functional

        sys.modules["torchvision.transforms.functional_tensor"] = functional
    from pytorchvideo.data import LabeledVideoDataset, make_clip_sampler
    from pytorchvideo.transforms import ApplyTransformToKey, RandomShortSideScale, UniformTemporalSubsample
    from torchvision.transforms import Compose, Lambda, RandomCrop, RandomHorizontalFlip
    from torchvision.transforms._transforms_video import NormalizeVideo

    steps = [
        UniformTemporalSubsample(sampling.frames),
        Lambda(_unit),
        NormalizeVideo([MEAN] * 3, [STD] * 3),
        RandomShortSideScale(*sampling.scale),
        RandomCrop(sampling.crop),
        RandomHorizontalFlip(),
    ]
    return LabeledVideoDataset(
        [(path, {"label": 0}) for path in paths] * -(-samples // len(paths)),
        make_clip_sampler("random", sampling.frames * sampling.stride / fps),
        transform=Compose([ApplyTransformToKey("video", Compose(steps))]),
        decode_audio=False,
        decoder="pyav",
    )


def _unit(frames: torch.Tensor) -> torch.Tensor:
    return frames / 255.0


def pytorchvideo_problem() -> str:
    """Return why pytorchvideo's data set and transforms cannot be imported, or an empty string."""
    try:
        import torchvision  # noqa: F401
    except Exception as error:  # a torchvision built for another torch raises various errors
        return f"torchvision does not load ({str(error).splitlines()[0]})"
    try:
        sampling = ClipSampling(frames=1, stride=1, scale=(8, 8), crop=8, test_scale=8, test_crop=8)
        pytorchvideo_clips(["none.mp4"], sampling, 1.0, 1)
    except Exception as error:
        return f"pytorchvideo does not load ({str(error).splitlines()[0]})"
    return ""
