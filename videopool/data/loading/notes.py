"""Which videos the loader's processes are decoding: known outside of them, in case one of them dies of it."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from multiprocessing import sharedctypes
from typing import TypeVar

_NOBODY = -1
_AT_ONCE = 16  # decodes of a process that can be noted: one that runs, and those that were given up and hang
_ROW = 2 + _AT_ONCE  # cells of a process

_Result = TypeVar("_Result")


class Notes:
    """The videos that each of ``workers`` processes is decoding; they live in memory that the processes share.

    A row of cells for each process: how often it began, the video that it began last, then all that it has begun and
    not ended.
    """

    def __init__(self, workers: int) -> None:
        self._cells = sharedctypes.RawArray(ctypes.c_int64, [_NOBODY] * (workers * _ROW))

    @contextlib.contextmanager
    def noted(self, worker: int, video: int) -> Iterator[None]:
        """Until the block ends, process ``worker`` is decoding ``video``."""
        row = worker * _ROW
        cells = range(row + 2, row + _ROW)
        cell = next((cell for cell in cells if self._cells[cell] == _NOBODY), cells[-1])
        self._cells[row + 1] = self._cells[cell] = video
        self._cells[row] += 1
        try:
            yield
        finally:
            self._cells[cell] = _NOBODY

    def running(self, worker: int) -> tuple[set[int], set[int]]:
        """The videos that ``worker`` was decoding: those it had given up (``data.decode_timeout``) and that ran on in
        their threads, and the one that it waited for, if there was one."""
        _count, latest, *begun = self._cells[worker * _ROW : (worker + 1) * _ROW]
        noted = {video for video in begun if video != _NOBODY}
        return noted - {latest}, noted & {latest}

    def awaited(self, worker: int) -> tuple[int, int] | None:
        """The video that ``worker`` waits for, and how many it has begun so far; None while it waits for none."""
        count, latest, *begun = self._cells[worker * _ROW : (worker + 1) * _ROW]
        return (latest, count) if latest in begun and latest != _NOBODY else None


_here: tuple[Notes, int] | None = None  # in a loader process: where it notes, and its number


def note_in(notes: Notes, worker: int) -> None:
    """This process is ``worker`` from now on."""
    global _here
    _here = (notes, worker)


def noting(video: int, decode: Callable[[], _Result]) -> _Result:
    """``decode()``; in a loader process it is noted meanwhile that ``video`` is being decoded."""
    if _here is None:
        return decode()
    notes, worker = _here
    with notes.noted(worker, video):
        return decode()
