"""PyTorch data sets of training clips and of test views.

Everything random in a training clip is a function of (seed, epoch, index). It does not depend on the number of workers
or processes, or on what was loaded before.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset

from videopool.data.clip_times import TooShortError, draw_clip, place_clips
from videopool.data.decoding.decode import READING, OpenVideo, Reading
from videopool.data.decoding.reader import DecodeError, Grids, TimedOutError, Timing
from videopool.data.decoding.source import source_of
from videopool.data.decoding.timeout import with_timeout
from videopool.data.grids import region_grid, scaled_grids
from videopool.data.lists.table import VideoTable
from videopool.data.loading.active_decodes import recording
from videopool.data.sampling import (
    REGION_NUMBERS,
    ClipSampling,
    Region,
    check_crops,
    random_crop,
    random_region,
    random_short_side,
    random_stride,
    uniform_crops,
)
from videopool.errors import InputError
from videopool.ops.frames import Grid
from videopool.ranges import AT_LEAST_ONE, AT_LEAST_ZERO
from videopool.types import BadVideo, Clip, VideoRecord, View

_CUT_SECONDS = 0.5  # by which a file cut out for a span may exceed it
ATTEMPTS = 10  # videos tried for one training clip, before the run is stopped

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class NoClip:
    """Replaces a clip for which no video could be decoded; ``message`` is the error for the user."""

    message: str


class Videos:
    """The V videos of a data set, and how they are read.

    Args:
        records: the videos.
        sampling: length, scale and crop of the clips.
        reading: how videos are opened, and how long one decode may take.

    Attributes:
        excluded: videos that must not be opened, by number, with the reasons; see ``supervisor``.

    Raises:
        InputError: for an empty list.
    """

    def __init__(self, records: Sequence[VideoRecord], sampling: ClipSampling, reading: Reading) -> None:
        if not records:
            raise InputError("The list of videos is empty.")
        self.records = records
        self.excluded: dict[int, str] = {}
        self.sampling = sampling
        self.reading = reading

    def __len__(self) -> int:
        return len(self.records)

    def _record(self, video: int) -> VideoRecord:
        """Return the record of ``video``; raise DecodeError if it is excluded, or a scan could not read it."""
        record = self.records[video]
        scanned = self.records.reason(video) if isinstance(self.records, VideoTable) else ""
        fault = self.excluded.get(video, scanned)
        if fault:
            raise DecodeError(source_of(record).name, fault)
        return record

    def _timed(self, video: int, record: VideoRecord, decode: Callable[[], _Result]) -> _Result:
        """Return ``decode()``, abandoned after the timeout; a loader worker records that it is decoding ``video``."""
        recorded = functools.partial(recording, video, decode)
        return with_timeout(recorded, path=source_of(record).name, seconds=self.reading.timeout)


class TrainClips(Videos, Dataset[Clip | NoClip]):
    """One random clip of a video for each key ``(epoch, index)`` or ``(epoch, index, shape)``.

    Index ``i`` is video ``i % V``: if a data set is smaller than a batch, its videos repeat with other random numbers.
    A video that cannot be decoded is replaced by another of its class, or of any class if there is no other, drawn from
    (seed, epoch, index, attempt). So every class is seen as often as planned. Such a clip is marked ``substituted``,
    and lists every video that failed.

    Args:
        records, sampling, reading: see ``Videos``; so is the attribute ``excluded``.
        seed: 0 or more.
        no_flip: labels of classes whose videos must not be mirrored.
        smaller: the sampling of clips of other shapes: of shape 1, 2, ...; shape 0 is ``sampling``.

    Raises:
        InputError: for an empty list or a negative seed.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        sampling: ClipSampling,
        *,
        seed: int,
        reading: Reading = READING,
        no_flip: frozenset[int] = frozenset(),
        smaller: Sequence[ClipSampling] = (),
    ) -> None:
        super().__init__(records, sampling, reading)
        AT_LEAST_ZERO.check("seed", seed)
        self.seed = seed
        self.no_flip = no_flip
        self._samplings = (sampling, *smaller)
        self._not_mirrored = [dataclasses.replace(each, flip=False) for each in self._samplings]

    def shape(self, number: int) -> tuple[int, int, int, int]:
        """Return [C,T,H,W] of the clips of shape ``number``."""
        sampling = self._samplings[number]
        return 3, sampling.frames, sampling.crop, sampling.crop

    def __getitem__(self, key: tuple[int, ...]) -> Clip | NoClip:
        """Return the clip of ``key``, or NoClip if ``ATTEMPTS`` videos cannot be decoded."""
        epoch, index, *smaller = key
        shape = smaller[0] if smaller else 0
        video = index % len(self.records)
        rng = np.random.default_rng((self.seed, epoch, index))
        bad: list[BadVideo] = []
        for attempt in range(1, ATTEMPTS + 1):
            try:
                record = self._record(video)
                frames = self._timed(video, record, functools.partial(self._decode, record, shape, rng))
            except DecodeError as error:
                bad.append(bad_video(video, error))
                rng = np.random.default_rng((self.seed, epoch, index, attempt))
                video = self._substitute([failed.video for failed in bad], rng)
            else:
                return Clip(frames, record.label, video, 0, substituted=bool(bad), bad=tuple(bad))
        return NoClip(
            f"{ATTEMPTS} videos in a row could not be decoded; the last one, {bad[-1].path}, {bad[-1].reason}. "
            "Check that the list names videos, and that the decoder can read them."
        )

    def _substitute(self, failed: Sequence[int], rng: np.random.Generator) -> int:
        """Return a random video of the class of the first that ``failed``, or of any class if it has no other."""
        table = self.records
        labels = table.label if isinstance(table, VideoTable) else np.array([record.label for record in table])
        same_class = np.setdiff1d(np.flatnonzero(labels == labels[failed[0]]), failed)
        return int(rng.choice(same_class) if len(same_class) else rng.integers(len(labels)))

    def _decode(self, record: VideoRecord, shape: int, rng: np.random.Generator) -> torch.Tensor:
        """Return a clip of the video, uint8 [C,T,crop,crop]."""
        may_flip = self.no_flip.isdisjoint((record.label,) if record.labels is None else record.labels)
        sampling = random_stride((self._samplings if may_flip else self._not_mirrored)[shape], rng)
        crop = _random_square(sampling, rng) if sampling.area is None else _random_part(sampling, rng)
        sample = functools.partial(draw_clip, sampling=sampling, rng=rng)
        with self.reading.open(record) as video:
            return video.clips(times_in_span(record, video.timing, sample), crop)[0]


def _random_square(sampling: ClipSampling, rng: np.random.Generator) -> Grids:
    """Return a random square of the scaled frames, the same in all frames of a clip."""

    def regions(height: int, width: int) -> tuple[Region]:
        return (random_crop(height=height, width=width, size=sampling.crop, flip=sampling.flip, rng=rng),)

    return scaled_grids(random_short_side(scale=sampling.scale, rng=rng), regions)


def _random_part(sampling: ClipSampling, rng: np.random.Generator) -> Grids:
    """Return a random part of the frames, resized to a square, the same in all frames of a clip."""
    numbers = rng.random(REGION_NUMBERS)

    def grids(height: int, width: int) -> tuple[Grid]:
        region = random_region(height=height, width=width, sampling=sampling, numbers=numbers)
        return (region_grid(region, sampling.crop),)

    return grids


class TestVideos(Videos, Dataset[tuple[Clip, ...] | BadVideo]):
    """All views of a video: ``clips`` clips spread evenly, ``crops`` crops of each. The video is decoded once.

    A video that cannot be decoded becomes a ``BadVideo``, and is not replaced.

    Args:
        records, sampling, reading: see ``Videos``; so is the attribute ``excluded``.
        clips: per video.
        crops: 1 or 3 per clip.
    """

    __test__ = False  # pytest collects classes whose name starts with Test

    def __init__(
        self,
        records: Sequence[VideoRecord],
        sampling: ClipSampling,
        *,
        clips: int,
        crops: int,
        reading: Reading = READING,
    ) -> None:
        super().__init__(records, sampling, reading)
        check_crops(crops)
        AT_LEAST_ONE.check("clips", clips)
        self.clips = clips
        self.crops = crops

    @property
    def views(self) -> tuple[View, ...]:
        """The views of a video, in order; ``Clip.view`` is the index."""
        return tuple(
            View(clip, self.clips, crop, self.crops) for clip in range(self.clips) for crop in range(self.crops)
        )

    def __getitem__(self, video: int) -> tuple[Clip, ...] | BadVideo:
        try:
            record = self._record(video)
            clips = self._timed(video, record, lambda: self._decode(record))
        except DecodeError as error:
            return bad_video(video, error)
        return tuple(
            Clip(frames, record.label, video, view, seconds=seconds) for view, (frames, seconds) in enumerate(clips)
        )

    def _decode(self, record: VideoRecord) -> list[tuple[torch.Tensor, tuple[float, float]]]:
        sample = functools.partial(place_clips, sampling=self.sampling, clips=self.clips)
        with self.reading.open(record) as video:
            times = times_in_span(record, video.timing, sample)
            views = views_at(video, times, self.sampling, self.crops)
            return list(zip(views, view_seconds(times, video.timing.fps, self.crops), strict=True))


def views_at(video: OpenVideo, times: np.ndarray, sampling: ClipSampling, crops: int) -> list[torch.Tensor]:
    """Return the ``crops`` test crops of each of the K clips at ``times`` [K,T]: uint8 [C,T,crop,crop], clip by clip.

    The file is read once for all of them.
    """

    parts = video.clips(times.ravel(), crop_grids(sampling, crops))
    by_crop = [crop.split(sampling.frames, dim=1) for crop in parts]
    return [crop[clip].contiguous() for clip in range(len(times)) for crop in by_crop]


def crop_grids(sampling: ClipSampling, crops: int) -> Grids:
    """Return the pixels of the ``crops`` test crops of scaled frames."""

    def regions(height: int, width: int) -> tuple[Region, ...]:
        return uniform_crops(height=height, width=width, size=sampling.test_crop, crops=crops)

    return scaled_grids(sampling.test_scale, regions)


def view_seconds(times: np.ndarray, fps: float, crops: int) -> list[tuple[float, float]]:
    """Return start and end of the ``crops`` views of each of the K clips at ``times`` [K,T], in seconds, clip by clip.

    A clip lasts from the start of its first frame to the end of its last one; a frame is 1 / ``fps`` long.
    """
    spans = zip((times.min(1) - 0.5 / fps).tolist(), (times.max(1) + 0.5 / fps).tolist(), strict=True)
    return [span for span in spans for _ in range(crops)]


def bad_video(video: int, error: DecodeError) -> BadVideo:
    """Return the report on video number ``video``, which could not be decoded."""
    return BadVideo(video, error.path, error.reason, isinstance(error, TimedOutError))


def times_in_span(record: VideoRecord, timing: Timing, sample: Callable[..., np.ndarray]) -> np.ndarray:
    """Return the frame times that ``sample`` draws in the span of the record."""
    start, end = span_of(record, timing)
    try:
        return sample(duration=timing.duration_seconds, fps=timing.fps, start=start, end=end)
    except TooShortError as error:
        raise DecodeError(record.path, f"{error} (short=error)") from None
    except ValueError as error:
        raise DecodeError(record.path, f"does not hold the listed span: {error}") from None


def span_of(record: VideoRecord, timing: Timing) -> tuple[float, float | None]:
    """Return start and end of the span of the record in its file, in seconds; None is the end of the file.

    A span in frames is converted to seconds with the average rate of the file. If the file may have been cut out for
    the span (``may_be_cut``) and is not longer than it, it is read from its start.
    """
    start, end = _span_seconds(record, timing.fps)
    if record.may_be_cut and end is not None and timing.duration_seconds <= end - start + _CUT_SECONDS:
        return 0.0, None
    return start, end


def _span_seconds(record: VideoRecord, fps: float) -> tuple[float, float | None]:
    """Return start and end of the span in a file of ``fps`` frames a second; None is the end of the file."""
    if record.start_frame is None and record.end_frame is None:
        return record.start_seconds or 0.0, record.end_seconds
    return (record.start_frame or 0) / fps, None if record.end_frame is None else record.end_frame / fps
