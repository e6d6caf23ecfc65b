"""Clips for training and views for testing, as data sets of PyTorch.

Everything random in a training clip comes from (seed, epoch, index), so it does not depend on the number of workers or
processes, nor on what was loaded before.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from videopool.data.decode import DecodeError, VideoInfo, check_decoder, open_video, with_timeout
from videopool.data.sampling import (
    REGION_NUMBERS,
    ClipSampling,
    Region,
    check_crops,
    random_clip,
    random_crop,
    random_region,
    random_short_side,
    region_short_side,
    scaled_region,
    uniform_clips,
    uniform_crops,
)
from videopool.data.transforms import crop_frames, resize_region
from videopool.errors import InputError
from videopool.types import BadVideo, Clip, VideoRecord, View

ATTEMPTS = 10  # videos tried for one training clip before the run is stopped


@dataclasses.dataclass(frozen=True)
class NoClip:
    """In the place of a clip when no video could be decoded for it: the sentence for the user."""

    sentence: str


class TrainClips(Dataset[Clip | NoClip]):
    """One random clip of a video for each key ``(epoch, index)``.

    Index ``i`` is video ``i % V``: a data set smaller than a batch is walked through more than once, with other random
    numbers each time. A video that cannot be decoded is replaced by one drawn from (seed, epoch, index, attempt); the
    clip is marked ``substituted`` and lists every video that failed on the way.

    Args:
        records: the V videos.
        sampling: length, scale and crop of the clips.
        seed: not negative.
        decoder: see ``open_video``.
        decode_timeout: seconds after which a video counts as one that cannot be decoded.

    Raises:
        InputError: without records.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        sampling: ClipSampling,
        *,
        seed: int,
        decoder: str = "auto",
        decode_timeout: float = 60.0,
    ) -> None:
        _check(records, decoder, decode_timeout)
        if seed < 0:
            raise InputError(f"train.seed={seed}: expected 0 or more")
        self.records = tuple(records)
        self.sampling = sampling
        self.seed = seed
        self.decoder = decoder
        self.decode_timeout = decode_timeout

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> Clip | NoClip:
        """The clip of ``key = (epoch, index)``; its ``view`` is 0. NoClip if ``ATTEMPTS`` videos cannot be decoded."""
        epoch, index = key
        video = index % len(self.records)
        rng = np.random.default_rng((self.seed, epoch, index))
        bad: list[BadVideo] = []
        for attempt in range(1, ATTEMPTS + 1):
            try:
                frames = self._frames(self.records[video], rng)
            except DecodeError as error:
                bad.append(BadVideo(video, error.path, error.reason))
                rng = np.random.default_rng((self.seed, epoch, index, attempt))
                video = int(rng.integers(len(self.records)))
            else:
                return Clip(frames, self.records[video].label, video, 0, substituted=bool(bad), bad=tuple(bad))
        return NoClip(
            f"{ATTEMPTS} videos in a row cannot be decoded, the last being {bad[-1].path}, which {bad[-1].reason}; "
            f"check data.root and data.decoder"
        )

    def _frames(self, record: VideoRecord, rng: np.random.Generator) -> torch.Tensor:
        return self._square(record, rng) if self.sampling.area is None else self._resized_region(record, rng)

    def _square(self, record: VideoRecord, rng: np.random.Generator) -> torch.Tensor:
        """A random square of scaled frames, uint8 [C,T,crop,crop]."""
        sampling = self.sampling

        def decode() -> torch.Tensor:
            short_side = random_short_side(scale=sampling.scale, rng=rng)
            with open_video(record.path, decoder=self.decoder, short_side=short_side) as reader:
                sample = functools.partial(random_clip, sampling=sampling, rng=rng)
                return reader.frames_at(_times(record, reader.info, sample))

        frames = with_timeout(decode, path=record.path, seconds=self.decode_timeout)
        height, width = frames.shape[2:]
        crop = random_crop(height=height, width=width, size=sampling.crop, flip=sampling.flip, rng=rng)
        return crop_frames(frames, crop)

    def _resized_region(self, record: VideoRecord, rng: np.random.Generator) -> torch.Tensor:
        """A random part of the frames, the same of all, resized to uint8 [C,T,crop,crop]."""
        sampling = self.sampling
        numbers = rng.random(REGION_NUMBERS)

        def region(info: VideoInfo) -> Region:
            return random_region(height=info.height, width=info.width, sampling=sampling, numbers=numbers)

        def short_side(info: VideoInfo) -> int:
            return region_short_side(region(info), height=info.height, width=info.width, size=sampling.crop)

        def decode() -> tuple[VideoInfo, torch.Tensor]:
            with open_video(record.path, decoder=self.decoder, short_side=short_side) as reader:
                sample = functools.partial(random_clip, sampling=sampling, rng=rng)
                return reader.info, reader.frames_at(_times(record, reader.info, sample))

        info, frames = with_timeout(decode, path=record.path, seconds=self.decode_timeout)
        height, width = frames.shape[2:]
        there = scaled_region(region(info), old=(info.height, info.width), new=(height, width))
        return resize_region(frames, there, sampling.crop)


class TestVideos(Dataset[tuple[Clip, ...] | BadVideo]):
    """All views of a video: ``clips`` clips spread evenly, ``crops`` crops of each; the video is decoded once.

    A video that cannot be decoded is given as a ``BadVideo``: nothing takes its place.

    Args:
        records: the V videos.
        sampling: length of the clips, ``test_scale`` and ``test_crop``.
        clips: per video.
        crops: 1 or 3 per clip.
        decoder, decode_timeout: as in ``TrainClips``.
    """

    __test__ = False  # pytest takes classes whose name begins with Test for tests

    def __init__(
        self,
        records: Sequence[VideoRecord],
        sampling: ClipSampling,
        *,
        clips: int,
        crops: int,
        decoder: str = "auto",
        decode_timeout: float = 60.0,
    ) -> None:
        _check(records, decoder, decode_timeout)
        check_crops(crops)
        if clips < 1:
            raise InputError(f"evaluate.clips={clips}: expected at least 1")
        self.records = tuple(records)
        self.sampling = sampling
        self.clips = clips
        self.crops = crops
        self.decoder = decoder
        self.decode_timeout = decode_timeout

    @property
    def views(self) -> tuple[View, ...]:
        """The views of a video, in the order in which they are given; ``Clip.view`` is the index."""
        return tuple(
            View(clip, self.clips, crop, self.crops) for clip in range(self.clips) for crop in range(self.crops)
        )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, video: int) -> tuple[Clip, ...] | BadVideo:
        record = self.records[video]
        try:
            clips = with_timeout(lambda: self._decode(record), path=record.path, seconds=self.decode_timeout)
        except DecodeError as error:
            return BadVideo(video, error.path, error.reason)
        height, width = clips[0].shape[2:]
        crops = uniform_crops(height=height, width=width, size=self.sampling.test_crop, crops=self.crops)
        squares = [crop_frames(frames, crop) for frames in clips for crop in crops]
        return tuple(Clip(frames, record.label, video, view) for view, frames in enumerate(squares))

    def _decode(self, record: VideoRecord) -> list[torch.Tensor]:
        """The clips, uint8 [C,T,H,W] each: one pass over the file for the frames of them all."""
        with open_video(record.path, decoder=self.decoder, short_side=self.sampling.test_scale) as reader:
            sample = functools.partial(uniform_clips, sampling=self.sampling, clips=self.clips)
            times = _times(record, reader.info, sample)
            frames = reader.frames_at(times.ravel())
        return list(frames.split(self.sampling.frames, dim=1))


def _times(record: VideoRecord, info: VideoInfo, sample: Callable[..., np.ndarray]) -> np.ndarray:
    """The frame times that ``sample`` draws in the span of the record."""
    start, end = record.start_seconds or 0.0, record.end_seconds
    try:
        return sample(duration=info.duration_seconds, fps=info.fps, start=start, end=end)
    except ValueError as error:
        raise DecodeError(record.path, f"does not hold the listed span: {error}") from None


def _check(records: Sequence[VideoRecord], decoder: str, decode_timeout: float) -> None:
    check_decoder(decoder)
    if not records:
        raise InputError("the list of videos is empty; check data.train and data.test")
    if not decode_timeout > 0:
        raise InputError(f"data.decode_timeout={decode_timeout:g}: expected more than 0 seconds")
