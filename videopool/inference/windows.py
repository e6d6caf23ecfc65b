"""Windows that slide over a video, for networks that see a clip at a time.

The clips are those of ``WindowVideos``, bit for bit, but each frame is decoded once although windows overlap. ::

    video      |. . . . . . . . . . . . . . . .|
    window 0   |* * * * * *                    |
    window 1   |      * * * * * *              |      the frames of its first half are kept from window 0
    kept               |---------|                    only the frames of windows to come are in memory

Shape legend: S crops, C channels, T frames of a clip, H rows, W columns.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
import torch

from videopool.data.clip_times import place_clips, sliding_clips
from videopool.data.decoding.decode import OpenVideo, Reading
from videopool.data.decoding.timeout import with_timeout
from videopool.data.loading.dataset import crop_grids, times_in_span, view_seconds
from videopool.data.sampling import ClipSampling
from videopool.errors import InputError
from videopool.types import VideoRecord

_AT_ONCE = 64  # frames that are decoded after one seek


@dataclasses.dataclass(frozen=True)
class WindowClip:
    """The pixels of a window.

    Attributes:
        start, end: of the window in the video, in seconds.
        crops: uint8 [S,C,T,H,W].
    """

    start: float
    end: float
    crops: torch.Tensor


def check_windows(sampling: ClipSampling) -> None:
    """Raise InputError for a network whose clips have frames from all over a video."""
    if sampling.method == "segments":
        raise InputError(
            "A timeline needs clips of a known length, but this network takes frames of the whole video "
            "(clip.sampling=segments). Add clip.sampling=dense and clip.window=SECONDS."
        )


@functools.lru_cache(maxsize=64)
def window_seconds(sampling: ClipSampling, fps: float) -> float:
    """Return the length of a window in a video of ``fps`` frames a second, from its first frame to its end."""
    long = 2 * (sampling.frames * sampling.stride * max(1.0, fps / (sampling.fps or fps)) / fps + sampling.window)
    first, second = sliding_clips(duration=long + 10 / fps, fps=fps, sampling=sampling, hop=0)[:2]
    return float(second[0] - first[0])


def sliding_windows(
    record: VideoRecord, sampling: ClipSampling, *, hop: float, crops: int, reading: Reading
) -> Iterator[WindowClip]:
    """Yield the windows of a video, one every ``hop`` seconds; the last one ends with the video.

    Memory does not grow with the length of the video, but for a few bytes for each window. The file is closed when the
    generator ends or is dropped.

    Args:
        record: the video, or a span of it.
        sampling: the clip; random or dense.
        hop: seconds, at least one frame; 0 is half a window.
        crops: 1 or 3 of each window.
        reading: how the video is read; its timeout holds for each ``_AT_ONCE`` frames.

    Raises:
        InputError: for a sampling that has no windows.
        DecodeError: if the video cannot be read, at its start or in the middle.
    """
    check_windows(sampling)
    groups = _groups(record, sampling, hop, crops, reading)
    step = functools.partial(next, groups, None)
    while (group := with_timeout(step, path=record.path, seconds=reading.timeout)) is not None:
        yield from group


def _groups(
    record: VideoRecord, sampling: ClipSampling, hop: float, crops: int, reading: Reading
) -> Iterator[list[WindowClip]]:
    """Yield the windows in lists of those whose frames are decoded together."""
    with reading.open(record) as video:
        fps = video.timing.fps
        sample = functools.partial(sliding_clips, sampling=sampling, hop=hop or window_seconds(sampling, fps) / 2)
        times = times_in_span(record, video.timing, sample)
        spans = view_seconds(times, fps, 1)
        frames = _KeptFrames(video, sampling, crops)
        first = 0
        while first < len(times):
            stop = frames.reach(times, first)
            yield [WindowClip(*spans[number], frames.clip(times[number])) for number in range(first, stop)]
            first = stop


class _KeptFrames:
    """The frames of the windows to come, by time."""

    def __init__(self, video: OpenVideo, sampling: ClipSampling, crops: int) -> None:
        self._video, self._grids = video, crop_grids(sampling, crops)
        self._times = np.empty(0)
        self._pixels: list[torch.Tensor] = []  # of each crop, uint8 [C,n,H,W] at the n ``_times``

    def reach(self, times: np.ndarray, first: int) -> int:
        """Decode the frames of some windows from number ``first`` on, and return the number of the next one.

        Args:
            times: float64 [K,T], the frame times of all windows.
            first: the frames before this window are dropped.
        """
        kept = self._times >= times[first].min()
        stop, wanted = first, np.empty(0)
        while stop < len(times) and (stop == first or len(wanted) < _AT_ONCE):
            new = np.setdiff1d(times[stop], self._times[kept])
            wanted, stop = np.union1d(wanted, new), stop + 1
        if len(wanted):
            decoded = self._video.clips(wanted, self._grids)
            before = np.flatnonzero(kept)
            joined = np.concatenate([self._times[before], wanted])
            order = np.argsort(joined)  # windows that are an odd number of frames apart use every second frame in turn
            earlier = [pixels[:, before] for pixels in self._pixels] or [part[:, :0] for part in decoded]
            self._pixels = [torch.cat(pair, 1)[:, order] for pair in zip(earlier, decoded, strict=True)]
            self._times = joined[order]
        return stop

    def clip(self, times: np.ndarray) -> torch.Tensor:
        """Return the crops of the window of the frames at ``times`` [T]: uint8 [S,C,T,H,W]."""
        places = torch.from_numpy(np.searchsorted(self._times, times))
        return torch.stack([pixels.index_select(1, places) for pixels in self._pixels])


def newest_window(end: float, fps: float, sampling: ClipSampling) -> np.ndarray:
    """Return the frame times [T] of the window of a video of ``fps`` frames a second that ends at ``end`` seconds."""
    length = window_seconds(sampling, fps)
    (times,) = place_clips(duration=length, fps=fps, sampling=sampling, clips=1)
    return times + (end - length)
