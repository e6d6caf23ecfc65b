"""Read frames with PyAV: all formats of FFmpeg, with edit lists, open groups of pictures and rotation.

The decoder runs once, from the keyframe before the first wanted frame, and only the wanted pixels of the wanted frames
are converted.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from videopool.data.decoding.container import best_stream, open_container
from videopool.data.decoding.deinterlace import deinterlaced
from videopool.data.decoding.index_times import IndexTimes, index_times
from videopool.data.decoding.indexed_frames import NotAsIndexedError, indexed_frames
from videopool.data.decoding.listed_frames import EntryError, entries_before, frames_from, wanted_frames
from videopool.data.decoding.pixels import Upright, pixel_aspect, planes_of, upright_of
from videopool.data.decoding.reader import Grids, Outputs, Timing, VideoInfo, whole_frame
from videopool.data.decoding.source import Source
from videopool.data.decoding.timeline import Timeline, read_timeline


class PyAVReader:
    """A video open in PyAV; see ``VideoReader``.

    Args:
        source: the video.
        deinterlace: make interlaced frames progressive.
    """

    def __init__(self, source: Source, *, deinterlace: bool = False) -> None:
        self._source = source
        self._deinterlace = deinterlace
        self._timeline: Timeline | None = None
        self._times: IndexTimes | None = None
        self._size: tuple[int, int] | None = None
        self._upright = Upright()
        self._container = open_container(source)
        try:
            self._times = None if deinterlace else index_times(self._container, source)
            if self._times is None:
                self._list()
        except BaseException:
            self.close()
            raise

    @property
    def timing(self) -> Timing:
        return self._listed.info.timing if self._times is None else self._times.timing

    @property
    def info(self) -> VideoInfo:
        if self._times is not None and self._size is None:
            self.clips([0.0], whole_frame(1))
        if self._times is None:
            return self._listed.info
        assert self._size is not None
        height, width = self._size
        return VideoInfo.of(self.timing, width=width, height=height)

    @property
    def pixel_aspect(self) -> Fraction:
        if self._times is None:
            return self._listed.aspect
        return pixel_aspect(best_stream(self._container), self._upright)

    def clips(self, times: Sequence[float] | np.ndarray, grids: Grids) -> list[torch.Tensor]:
        if self._times is not None:
            outputs = Outputs(self._times.starts, times, grids)
            try:
                self._fill(outputs, indexed_frames(self._source.name, self._container, self._times, outputs.wanted))
                return outputs.clips()
            except NotAsIndexedError:
                self._list()
            outputs = outputs.again(self._listed.starts, times)
        else:
            outputs = Outputs(self._listed.starts, times, grids)
        self._fill(outputs, self._listed_frames(outputs.wanted))
        return outputs.clips()

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
        self._container = None

    def _fill(self, outputs: Outputs, frames: Iterator[Any]) -> None:
        """Convert each frame before the next one is decoded, because a decoder reuses its few frames."""
        first = None
        for position, frame in enumerate(frames):
            if first is None:
                first = (frame.width, frame.height)
                self._upright = upright_of(frame)
            elif (frame.width, frame.height) != first:
                frame = frame.reformat(width=first[0], height=first[1])
            outputs.put(position, *planes_of(frame, self._upright))
        self._size = outputs.size
        if self._upright != Upright():
            frame = None
            gc.collect(0)  # see upright_of

    @property
    def _listed(self) -> Timeline:
        assert self._timeline is not None
        return self._timeline

    def _list(self) -> None:
        """List the packets, and find frames by that list from now on."""
        self.close()
        self._times, self._timeline = None, read_timeline(self._source)

    def _listed_frames(self, wanted: np.ndarray) -> Iterator[Any]:
        """Return one decoded frame for each index of ``wanted`` (increasing), in that order.

        If a decoder does not return a frame after a seek, it may when it starts earlier: keyframes may be marked
        wrongly, and some streams can only be decoded from their start (periodic intra refresh).
        """
        import av

        given, failure = 0, None
        begin = max(0, int(wanted[0]) - self._deinterlace)  # the filter uses the frame before
        for entry in entries_before(self._source, self._listed, begin):
            frames = frames_from(self._source, self._listed, entry)
            if self._deinterlace:
                frames = deinterlaced(frames)
            try:
                for frame in wanted_frames(self._source, frames, wanted[given:], self._listed):
                    yield frame
                    given += 1
                return
            except (EntryError, av.FFmpegError) as error:
                failure = error
        assert failure is not None
        raise failure
