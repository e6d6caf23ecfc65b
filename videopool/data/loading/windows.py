"""Windows that slide over whole videos: the number of clips depends on the length, and few are in memory at a time."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import IterableDataset, get_worker_info

from videopool.data.clip_times import sliding_clips
from videopool.data.decoding.decode import READING, Reading
from videopool.data.decoding.reader import DecodeError
from videopool.data.loading.dataset import Videos, bad_video, times_in_span, view_seconds, views_at
from videopool.data.sampling import ClipSampling, check_crops
from videopool.errors import InputError
from videopool.ranges import HOP
from videopool.types import BadVideo, Batch, Clip, VideoRecord


class WindowVideos(Videos):
    """All windows of a video at the positions of ``sliding_clips``, ``crops`` crops of each.

    The file is opened once and read window by window, so memory does not grow with its length. If a video breaks off
    before its end, its clips so far are followed by a ``BadVideo``.

    Args:
        records, sampling, reading: see ``Videos``; so is the attribute ``excluded``. The sampling is random or dense.
        hop: seconds between the starts of two windows; 0 is the length of a window.
        crops: 1 or 3 per window.
        at_once: clips decoded together; with more of them, overlapping windows share more frames.

    Raises:
        InputError: for an empty list or invalid settings.
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
        super().__init__(records, sampling, reading)
        check_crops(crops)
        if sampling.method == "segments":
            raise InputError(
                "Sliding windows (clips=0) are not possible with sampling=segments, which takes frames of the whole "
                "video. Set clips to 1 or more.",
                setting="clips",
            )
        HOP.check("hop", hop)
        self.hop = hop
        self.crops = crops
        self.at_once = at_once

    def clips(self, video: int) -> Iterator[Clip | BadVideo]:
        """Yield the views of a video, window by window; ``Clip.view`` counts them."""
        view = itertools.count()
        try:
            record = self._record(video)
            parts = self._parts(record)
            while part := self._timed(video, record, lambda: next(parts, [])):
                for frames, seconds in part:
                    yield Clip(frames, record.label, video, next(view), seconds=seconds)
        except DecodeError as error:
            yield bad_video(video, error)

    def _parts(self, record: VideoRecord) -> Iterator[list[tuple[torch.Tensor, tuple[float, float]]]]:
        """Yield the views of the video, uint8 [C,T,crop,crop] and seconds each, in lists of those decoded together.

        The file is closed when the generator ends or is dropped; in a thread that hangs it stays open.
        """
        sample = functools.partial(sliding_clips, sampling=self.sampling, hop=self.hop)
        windows = max(1, self.at_once // self.crops)
        with self.reading.open(record) as opened:
            times = times_in_span(record, opened.timing, sample)
            for first in range(0, len(times), windows):
                part = times[first : first + windows]
                views = views_at(opened, part, self.sampling, self.crops)
                yield list(zip(views, view_seconds(part, opened.timing.fps, self.crops), strict=True))


class WindowStream(IterableDataset[list[tuple[Clip, ...] | BadVideo]]):
    """The views of ``videos``, in groups of ``batch`` that continue from one video to the next.

    Each worker takes every n-th video. An item is the tuple of clips of a group, and the videos that failed meanwhile.

    Args:
        dataset: the windows.
        videos: numbers of videos of ``dataset``.
        batch: clips in a group.

    Attributes:
        starts: where workers start, by number, if not at their first video: how many videos of their share are done,
            and how many views of the next one. A worker reads it when it starts.
    """

    def __init__(self, dataset: WindowVideos, videos: range, batch: int) -> None:
        self.dataset, self.videos, self.batch = dataset, videos, batch
        self.starts: dict[int, tuple[int, int]] = {}

    def start_after(self, batch: Batch, workers: int) -> dict[int, tuple[int, int]]:
        """Return where the worker that made ``batch``, one of ``workers``, continues; only its last batch is short."""
        videos = batch.video.tolist() or [bad.video for bad in batch.bad]
        number, worker = divmod(self.videos.index(videos[-1]), workers)
        return {worker: (number, int(batch.view[-1]) + 1) if len(batch) == self.batch else (len(self.videos), 0)}

    def _items(self) -> Iterator[Clip | BadVideo]:
        """Yield the items of this worker."""
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        done, views = self.starts.get(worker, (0, 0))
        for video in self.videos[worker::workers][done:]:
            for item in self.dataset.clips(video):
                if isinstance(item, BadVideo) or item.view >= views:
                    yield item
            views = 0

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
