"""Make interlaced frames progressive with FFmpeg's filter bwdif, one frame for each pair of fields."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

Numbered = Iterator[tuple[int, Any]]
_TICK = Fraction(1, 1000)  # any value works: only the order of frames matters


def deinterlaced(frames: Numbered) -> Numbered:
    """Make those of ``frames`` (index, ``av.VideoFrame``) progressive that are marked as interlaced.

    The filter uses the frames before and after each one, and is restarted when the format of the frames changes. It
    converts formats that it does not support, so its output is used for interlaced frames only.
    """
    graph: _Graph | None = None
    for index, frame in frames:
        if graph is not None and not graph.fits(frame):
            yield from graph.finish()
            graph = None
        if graph is None:
            graph = _Graph(frame)
        yield from graph.push(index, frame)
    if graph is not None:
        yield from graph.finish()


class _Graph:
    """A filter graph for frames of the format of ``frame``. Frames are returned in the order of input."""

    def __init__(self, frame: Any) -> None:
        from av.filter import Graph

        self._format = _format(frame)
        self._waiting: collections.deque[tuple[int, Any, int | None, Fraction]] = collections.deque()
        self._pushed = 0
        self._graph = Graph()
        source = self._graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=_TICK)
        filtered = self._graph.add("bwdif", "mode=send_frame:deint=interlaced")
        sink = self._graph.add("buffersink")
        source.link_to(filtered)
        filtered.link_to(sink)
        self._graph.configure()

    def fits(self, frame: Any) -> bool:
        return _format(frame) == self._format

    def push(self, index: int, frame: Any) -> Numbered:
        self._waiting.append((index, frame, frame.pts, frame.time_base))
        frame.pts, frame.time_base = self._pushed, _TICK
        self._pushed += 1
        self._graph.push(frame)
        yield from self._filtered()

    def finish(self) -> Numbered:
        self._graph.push(None)
        yield from self._filtered()

    def _filtered(self) -> Numbered:
        import av

        while True:
            try:
                filtered = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            index, frame, pts, time_base = self._waiting.popleft()
            if frame.interlaced_frame:
                frame = filtered
            frame.pts, frame.time_base = pts, time_base
            yield index, frame


def _format(frame: Any) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name
