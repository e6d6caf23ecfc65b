"""Whole videos in windows that slide over them: as many clips as a video is long, a few at a time."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import IterableDataset, get_worker_info

from videopool.data.clip_times import sliding_clips
from videopool.data.dataset import check_videos, readable_record, times_in_span, views_at
from videopool.data.decode import DecodeError, open_video, with_timeout
from videopool.data.sampling import ClipSampling, check_crops
from videopool.errors import InputError
from videopool.types import BadVideo, Clip, VideoRecord


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
        decoder: see ``open_video``.
        decode_timeout: seconds after which one go counts as one that cannot be decoded.

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
        decoder: str = "auto",
        decode_timeout: float = 60.0,
    ) -> None:
        check_videos(records, decoder, decode_timeout)
        check_crops(crops)
        if sampling.method == "segments":
            raise InputError(
                "evaluate.clips=0 slides windows over a video, but clip.sampling=segments takes frames of all of it; "
                "set evaluate.clips to 1 or more"
            )
        if not hop >= 0:
            raise InputError(f"evaluate.hop={hop:g}: expected 0 (the span of a clip) or more seconds")
        self.records = records
        self.sampling = sampling
        self.hop = hop
        self.crops = crops
        self.at_once = at_once
        self.decoder = decoder
        self.decode_timeout = decode_timeout

    def __len__(self) -> int:
        return len(self.records)

    def clips(self, video: int) -> Iterator[Clip | BadVideo]:
        """The views of a video, window by window; ``Clip.view`` counts them."""
        view = itertools.count()
        try:
            record = readable_record(self.records, video)
            parts = self._parts(record)
            while part := with_timeout(lambda: next(parts, []), path=record.path, seconds=self.decode_timeout):
                for frames in part:
                    yield Clip(frames, record.label, video, next(view))
        except DecodeError as error:
            yield BadVideo(video, error.path, error.reason)

    def _parts(self, record: VideoRecord) -> Iterator[list[torch.Tensor]]:
        """The views of the video, uint8 [C,T,crop,crop] each, as many at once as are decoded in one go.

        It closes the file where it is finished or dropped. Left behind in a thread that hangs, it stays open with it.
        """
        sample = functools.partial(sliding_clips, sampling=self.sampling, hop=self.hop)
        windows = max(1, self.at_once // self.crops)
        with open_video(record, decoder=self.decoder) as opened:
            times = times_in_span(record, opened.timing, sample)
            for first in range(0, len(times), windows):
                yield views_at(opened, times[first : first + windows], self.sampling, self.crops)


class WindowStream(IterableDataset[list[tuple[Clip, ...] | BadVideo]]):
    """The views of ``videos``, numbers of ``dataset``, in groups of ``batch`` that go on from one video to the next.

    Each worker takes every n-th of the videos. A group is the tuple of its clips, and the videos that failed meanwhile.
    """

    def __init__(self, dataset: WindowVideos, videos: range, batch: int) -> None:
        self.dataset, self.videos, self.batch = dataset, videos, batch

    def __iter__(self) -> Iterator[list[tuple[Clip, ...] | BadVideo]]:
        worker = get_worker_info()
        share = self.videos if worker is None else self.videos[worker.id :: worker.num_workers]
        clips: list[Clip] = []
        bad: list[BadVideo] = []
        for item in (item for video in share for item in self.dataset.clips(video)):
            if isinstance(item, BadVideo):
                bad.append(item)
                continue
            clips.append(item)
            if len(clips) == self.batch:
                yield [tuple(clips), *bad]
                clips, bad = [], []
        if clips or bad:
            yield [tuple(clips), *bad]
