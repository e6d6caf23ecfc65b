"""Whole videos in windows that slide over them: as many clips as a video is long, a few at a time."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import IterableDataset, get_worker_info

from videopool.data.clip_times import sliding_clips
from videopool.data.decoding.decode import READING, DecodeError, Reading, with_timeout
from videopool.data.decoding.source import source_of
from videopool.data.loading.dataset import bad_video, check_videos, readable_record, times_in_span, views_at
from videopool.data.loading.notes import noting
from videopool.data.sampling import ClipSampling, check_crops
from videopool.errors import InputError
from videopool.types import BadVideo, Batch, Clip, VideoRecord


class WindowVideos:
    """All windows of a video, ``crops`` crops of each: ``sliding_clips`` says where they lie.

    The file is opened once and gone through window by window, so that memory does not grow with its length. What was
    given of a video that breaks off before its end is followed by a ``BadVideo``.

    Args:
        records: the V videos.
        sampling: length of the windows (of the methods random and dense), ``test_scale`` and ``test_crop``.
        hop: seconds from the start of one window to that of the next; 0 is the span of a window.
        crops: 1 or 3 per window.
        at_once: clips that are decoded in one go; more of them share the frames of windows that overlap.
        reading: how videos are opened, and how long one go may take.

    Attributes:
        lethal: as in ``TrainClips``.

    Raises:
        InputError: for settings that cannot be.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        sampling: ClipSampling,
        *,
        hop: float,
        crops: int,
        at_once: int = 8,
        reading: Reading = READING,
    ) -> None:
        check_videos(records)
        check_crops(crops)
        if sampling.method == "segments":
            raise InputError(
                "evaluate.clips=0 slides windows over a video, but clip.sampling=segments takes frames of all of it; "
                "set evaluate.clips to 1 or more"
            )
        if not hop >= 0:
            raise InputError(f"evaluate.hop={hop:g}: expected 0 (the span of a clip) or more seconds")
        self.records = records
        self.lethal: dict[int, str] = {}
        self.sampling = sampling
        self.hop = hop
        self.crops = crops
        self.at_once = at_once
        self.reading = reading

    def __len__(self) -> int:
        return len(self.records)

    def clips(self, video: int) -> Iterator[Clip | BadVideo]:
        """The views of a video, window by window; ``Clip.view`` counts them."""
        view = itertools.count()
        try:
            record = readable_record(self.records, video, self.lethal)
            parts = self._parts(record)
            decode = functools.partial(noting, video, lambda: next(parts, []))
            while part := with_timeout(decode, path=source_of(record).name, seconds=self.reading.timeout):
                for frames in part:
                    yield Clip(frames, record.label, video, next(view))
        except DecodeError as error:
            yield bad_video(video, error)

    def _parts(self, record: VideoRecord) -> Iterator[list[torch.Tensor]]:
        """The views of the video, uint8 [C,T,crop,crop] each, as many at once as are decoded in one go.

        It closes the file where it is finished or dropped. Left behind in a thread that hangs, it stays open with it.
        """
        sample = functools.partial(sliding_clips, sampling=self.sampling, hop=self.hop)
        windows = max(1, self.at_once // self.crops)
        with self.reading.open(record) as opened:
            times = times_in_span(record, opened.timing, sample)
            for first in range(0, len(times), windows):
                yield views_at(opened, times[first : first + windows], self.sampling, self.crops)


class WindowStream(IterableDataset[list[tuple[Clip, ...] | BadVideo]]):
    """The views of ``videos``, numbers of ``dataset``, in groups of ``batch`` that go on from one video to the next.

    Each worker takes every n-th of the videos. A group is the tuple of its clips, and the videos that failed meanwhile.

    ``places`` has, by the number of a worker that does not begin with its first video, how many videos of its share lie
    behind it, and how many views of the next one. A worker knows what was there when it was started.
    """

    def __init__(self, dataset: WindowVideos, videos: range, batch: int) -> None:
        self.dataset, self.videos, self.batch = dataset, videos, batch
        self.places: dict[int, tuple[int, int]] = {}

    def place_behind(self, batch: Batch, workers: int) -> dict[int, tuple[int, int]]:
        """Where the worker that gave ``batch``, one of ``workers``, goes on. Only its last batch can be a short one."""
        videos = batch.video.tolist() or [bad.video for bad in batch.bad]
        number, worker = divmod(self.videos.index(videos[-1]), workers)
        return {worker: (number, int(batch.view[-1]) + 1) if len(batch) == self.batch else (len(self.videos), 0)}

    def _items(self) -> Iterator[Clip | BadVideo]:
        """What this worker gives."""
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        behind, given = self.places.get(worker, (0, 0))
        for video in self.videos[worker::workers][behind:]:
            for item in self.dataset.clips(video):
                if isinstance(item, BadVideo) or item.view >= given:
                    yield item
            given = 0

    def __iter__(self) -> Iterator[list[tuple[Clip, ...] | BadVideo]]:
        clips: list[Clip] = []
        bad: list[BadVideo] = []
        for item in self._items():
            if isinstance(item, BadVideo):
                bad.append(item)
                continue
            clips.append(item)
            if len(clips) == self.batch:
                yield [tuple(clips), *bad]
                clips, bad = [], []
        if clips or bad:
            yield [tuple(clips), *bad]
