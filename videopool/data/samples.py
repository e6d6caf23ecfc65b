"""Single images and centered clips, read as the evaluation reads them, for tools that look at pixels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from videopool.data.decoding.decode import DecodeError, open_video
from videopool.data.decoding.image_reader import IMAGE_SUFFIXES
from videopool.data.lists.records import VIDEO_SUFFIXES
from videopool.data.loading.dataset import TestVideos
from videopool.data.sampling import ClipSampling
from videopool.data.synthetic import motion_frames
from videopool.errors import InputError
from videopool.types import BadVideo, VideoRecord


def read_images(places: Sequence[str | Path]) -> dict[str, torch.Tensor]:
    """The images at ``places``, files or folders of them, at their own size: name to uint8 [3,H,W], RGB.

    Raises:
        InputError: for a place that does not exist, a folder without an image, and a file that cannot be read.
    """
    return {name: _read(path, None) for name, path in _find_files(places, IMAGE_SUFFIXES).items()}


def read_clips(places: Sequence[str | Path], frames: int, stride: int, size: int) -> dict[str, torch.Tensor]:
    """The clip in the middle of each video at ``places``, its shorter side scaled, its center cut: name to uint8
    [3,T,size,size].

    Args:
        places: videos, or folders of them.
        frames: T, every ``stride``-th frame of the video.
        stride: frames of the video from one of the clip to the next.
        size: pixels.

    Raises:
        InputError: for a place that does not exist, a folder without a video, a file that cannot be read, and a video
            that is shorter than the clip.
    """
    sampling = ClipSampling(
        frames=frames, stride=stride, scale=(size, size), crop=size, test_scale=size, test_crop=size
    )
    return {name: _read(path, sampling) for name, path in _find_files(places, VIDEO_SUFFIXES).items()}


def demo_clip(frames: int, stride: int, size: int) -> torch.Tensor:
    """A clip of the demo's motions that anyone may show, always the same: uint8 [3,T,size,size]."""
    drawn = motion_frames("clockwise", size=(size, size), frames=frames * stride, rng=np.random.default_rng(0))
    return torch.from_numpy(drawn[::stride].copy()).permute(3, 0, 1, 2).contiguous()


def _find_files(places: Sequence[str | Path], suffixes: Sequence[str]) -> dict[str, Path]:
    """Files as given, and of folders those that end in ``suffixes`` (in any case), sorted, by a name for each: that of
    the file, or its path below what all share where two have the same."""
    found: list[Path] = []
    for place in map(Path, places):
        if not place.exists():
            raise InputError(f"{place}: no such file or folder; name an existing one")
        inside = [place]
        if place.is_dir():
            seen = (path for path in place.iterdir() if not path.name.startswith("."))
            inside = sorted(path for path in seen if path.name.lower().endswith(tuple(suffixes)))
        if not inside:
            raise InputError(f"{place}: the folder has no file ending in {' '.join(suffixes)}; name another one")
        found += inside
    found = list(dict.fromkeys(found))
    names = Counter(path.name for path in found)
    base = os.path.commonpath([path.absolute().parent for path in found]) if found else ""
    return {path.name if names[path.name] == 1 else os.path.relpath(path.absolute(), base): path for path in found}


def _read(path: Path, sampling: ClipSampling | None) -> torch.Tensor:
    """The centered clip of a video, or the first frame at its own size where there is no ``sampling``."""
    try:
        with open_video(path) as reader:
            if sampling is None:
                return reader.frames_at([0.0])[:, 0].contiguous()
            has, needs = reader.timing.frames, (sampling.frames - 1) * sampling.stride + 1
    except DecodeError as error:
        raise InputError(f"{error}; leave it out, or mend it") from None
    if has < needs:
        raise InputError(f"{path}: {has} frames are fewer than the {needs} of a clip; ask for fewer, or leave it out")
    views = TestVideos([VideoRecord(str(path), path, 0)], sampling, clips=1, crops=1)[0]
    if isinstance(views, BadVideo):
        raise InputError(f"{views.path}: {views.reason}; leave it out, or mend it")
    return views[0].frames
