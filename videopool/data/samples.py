"""Images and centered clips, read as evaluation reads them, for tools that look at pixels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from videopool.data.decoding.decode import open_video
from videopool.data.decoding.image_reader import IMAGE_SUFFIXES
from videopool.data.decoding.reader import DecodeError
from videopool.data.lists.formats.entries import VIDEO_SUFFIXES
from videopool.data.loading.dataset import TestVideos
from videopool.data.sampling import ClipSampling
from videopool.data.synthetic import motion_frames
from videopool.errors import InputError
from videopool.types import BadVideo, VideoRecord


def read_images(places: Sequence[str | Path]) -> dict[str, torch.Tensor]:
    """Read the images at ``places`` (files, or folders of images) at their own size: name to uint8 [3,H,W], RGB.

    Raises:
        InputError: if a place does not exist, a folder has no image, or a file cannot be read.
    """
    return {name: _read(path, None) for name, path in _find_files(places, IMAGE_SUFFIXES).items()}


def read_clips(places: Sequence[str | Path], frames: int, stride: int, size: int) -> dict[str, torch.Tensor]:
    """Read the clip in the middle of each video at ``places``: name to uint8 [3,T,size,size], the scaled center crop.

    Args:
        places: videos, or folders of videos.
        frames: T, every ``stride``-th frame of the video.
        stride: frames of the video from one frame of the clip to the next.
        size: pixels.

    Raises:
        InputError: if a place does not exist, a folder has no video, a file cannot be read, or a video is shorter than
            the clip.
    """
    sampling = ClipSampling(
        frames=frames, stride=stride, scale=(size, size), crop=size, test_scale=size, test_crop=size
    )
    return {name: _read(path, sampling) for name, path in _find_files(places, VIDEO_SUFFIXES).items()}


def demo_clip(frames: int, stride: int, size: int) -> torch.Tensor:
    """Return a clip of the demo's motions, always the same one: uint8 [3,T,size,size]."""
    drawn = motion_frames("clockwise", size=(size, size), frames=frames * stride, rng=np.random.default_rng(0))
    return torch.from_numpy(drawn[::stride].copy()).permute(3, 0, 1, 2).contiguous()


def _find_files(places: Sequence[str | Path], suffixes: Sequence[str]) -> dict[str, Path]:
    """Return the files at ``places``, by name: the given ones, and those of folders that end in ``suffixes`` in any
    case.

    A name is that of the file or, if two files have the same, its path below the folder that contains all of them.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if not place.exists():
            raise InputError(f"{place} does not exist. Give a file or a folder.")
        inside = [place]
        if place.is_dir():
            seen = (path for path in place.iterdir() if not path.name.startswith("."))
            inside = sorted(path for path in seen if path.name.lower().endswith(tuple(suffixes)))
        if not inside:
            raise InputError(f"{place} contains no file ending in {', '.join(suffixes)}. Give another folder.")
        found += inside
    found = list(dict.fromkeys(found))
    names = Counter(path.name for path in found)
    base = os.path.commonpath([path.absolute().parent for path in found]) if found else ""
    return {path.name if names[path.name] == 1 else os.path.relpath(path.absolute(), base): path for path in found}


def _read(path: Path, sampling: ClipSampling | None) -> torch.Tensor:
    """Return the centered clip of a video, or its first frame at its own size if ``sampling`` is None."""
    try:
        with open_video(path) as reader:
            if sampling is None:
                return reader.frames_at([0.0])[:, 0].contiguous()
            has, needs = reader.timing.frames, (sampling.frames - 1) * sampling.stride + 1
    except DecodeError as error:
        raise InputError(str(error)) from None
    if has < needs:
        raise InputError(f"{path} has {has} frames, but a clip needs {needs}. Use fewer frames or a smaller stride.")
    views = TestVideos([VideoRecord(str(path), path, 0)], sampling, clips=1, crops=1)[0]
    if isinstance(views, BadVideo):
        raise InputError(f"{views.path} {views.reason}")
    return views[0].frames
