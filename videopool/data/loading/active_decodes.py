"""Which videos the loader workers are decoding, in shared memory: the training process reads it when a worker dies."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from multiprocessing import sharedctypes
from typing import TypeVar

_NONE = -1
_DECODES = 16  # recorded decodes of a worker: the current one, and those that timed out and still hang
_ROW = 2 + _DECODES  # cells of a worker

_Result = TypeVar("_Result")


class ActiveDecodes:
    """The videos that each of ``workers`` processes is decoding, in memory that the processes share.

    Each worker has a row of cells: how many decodes it has started, the video of the last one, and all videos whose
    decode has started but not ended.
    """

    def __init__(self, workers: int) -> None:
        self._cells = sharedctypes.RawArray(ctypes.c_int64, [_NONE] * (workers * _ROW))

    @contextlib.contextmanager
    def recorded(self, worker: int, video: int) -> Iterator[None]:
        """Record that ``worker`` is decoding ``video`` until the block ends."""
        row = worker * _ROW
        cells = range(row + 2, row + _ROW)
        cell = next((cell for cell in cells if self._cells[cell] == _NONE), cells[-1])
        self._cells[row + 1] = self._cells[cell] = video
        self._cells[row] += 1
        try:
            yield
        finally:
            self._cells[cell] = _NONE

    def running(self, worker: int) -> tuple[set[int], set[int]]:
        """Return the videos that ``worker`` is decoding in threads that timed out, and the one it waits for, if any."""
        _count, latest, *started = self._cells[worker * _ROW : (worker + 1) * _ROW]
        videos = {video for video in started if video != _NONE}
        return videos - {latest}, videos & {latest}

    def awaited(self, worker: int) -> tuple[int, int] | None:
        """Return the video that ``worker`` waits for and how many decodes it has started; None if it waits for none."""
        count, latest, *started = self._cells[worker * _ROW : (worker + 1) * _ROW]
        return (latest, count) if latest in started and latest != _NONE else None


_here: tuple[ActiveDecodes, int] | None = None  # in a worker: where it records its decodes, and its number


def record_in(decodes: ActiveDecodes, worker: int) -> None:
    """Make this process ``worker``, whose decodes are recorded in ``decodes``."""
    global _here
    _here = (decodes, worker)


def recording(video: int, decode: Callable[[], _Result]) -> _Result:
    """Return ``decode()``; a loader worker records meanwhile that it is decoding ``video``."""
    if _here is None:
        return decode()
    decodes, worker = _here
    with decodes.recorded(worker, video):
        return decode()
