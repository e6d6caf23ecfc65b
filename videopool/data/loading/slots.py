"""Shared memory in which clips arrive from workers, used again for later batches.

A batch in new memory costs a page fault for every 4 KB, twice: in the process that writes it and in the one that reads
it. That was a quarter of the time of a small clip. Slots are mapped once by all processes. ::

    training process    assigns slot 0, 1, 2 ...           drops its batch: slot 0 is assigned again
    worker                   fills slot 0, sends it ------->  Batch in slot 0

The slots are a file without a name, independent of /dev/shm and its size (64 MB in many containers).
"""

from __future__ import annotations

import itertools
import mmap
import os
import weakref
from collections.abc import Sequence
from multiprocessing import context, reduction
from typing import Any

import numpy as np
import torch

from videopool.types import Batch


def slots_exist() -> bool:
    """Return whether this system has files without a name (Linux has)."""
    return hasattr(os, "memfd_create")


class Slots:
    """``count`` places, each for a batch of clips.

    Pickled for a process that is being started, it maps the same memory there; sent back, it becomes this very object.

    Args:
        count: the number of slots. Memory is allocated when a slot is first written to; low slots are taken first.
        size: bytes of the largest batch.
    """

    def __init__(self, count: int, size: int) -> None:
        self._fill(os.memfd_create("videopool-batches"), next(_names), count, size)
        os.ftruncate(self._file, count * self._bytes)
        self._memory = mmap.mmap(self._file, count * self._bytes)
        self._free = list(reversed(range(count)))
        _made_here[self._name] = self

    def _fill(self, file: int, name: int, count: int, size: int) -> None:
        self._file, self._name, self._count = file, name, count
        self._bytes = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        weakref.finalize(self, os.close, file).atexit = False

    def take(self) -> int | None:
        """Take a free slot and return its number; None if there is none."""
        return self._free.pop() if self._free else None

    def memory(self, slot: int) -> torch.Tensor:
        """Return the memory of ``slot``, uint8 [bytes]."""
        return torch.from_numpy(self._array(slot, (self._bytes,)))

    def taken_clips(self, slot: int, shape: Sequence[int]) -> torch.Tensor:
        """Return the clips in ``slot``, uint8 ``shape`` [B,C,T,H,W]; it is free once none is in use."""
        array = self._array(slot, shape)
        weakref.finalize(array, self._free.append, slot).atexit = False  # the tensor's storage keeps the array
        return torch.from_numpy(array)

    def _array(self, slot: int, shape: Sequence[int]) -> np.ndarray:
        return np.ndarray(tuple(shape), np.uint8, buffer=self._memory, offset=slot * self._bytes)

    def release(self) -> None:
        """Return the memory of free slots to the system until they are used again."""
        for slot in tuple(self._free):
            self._memory.madvise(mmap.MADV_REMOVE, slot * self._bytes, self._bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        if context.get_spawning_popen() is None:
            return _known, (self._name,)
        return _mapped, (reduction.DupFd(self._file), self._name, self._count, self._bytes)


_names = itertools.count()
_made_here: weakref.WeakValueDictionary[int, Slots] = weakref.WeakValueDictionary()


def _known(name: int) -> Slots:
    return _made_here[name]


def _mapped(file: Any, name: int, count: int, size: int) -> Slots:
    """Return the slots in a new process, where none is free to take."""
    slots = Slots.__new__(Slots)
    slots._fill(file.detach(), name, count, size)
    slots._memory = mmap.mmap(slots._file, count * slots._bytes)
    slots._free = []
    return slots


class SlotBatch:
    """A batch whose clips are in a slot, as a worker sends it; it arrives as a ``Batch``.

    Its other columns are sent as arrays, since each tensor would cost a file descriptor and a connection.
    """

    def __init__(self, batch: Batch, slots: Slots, slot: int) -> None:
        self._batch, self._slots, self._slot = batch, slots, slot

    def __reduce__(self) -> tuple[Any, ...]:
        batch = self._batch
        columns = [column.numpy() for column in (batch.labels, batch.video, batch.view, batch.substituted)]
        further = [None if column is None else column.numpy() for column in (batch.targets, batch.seconds)]
        return _arrived, (self._slots, self._slot, tuple(batch.clips.shape), columns, batch.bad, further)


def _arrived(
    slots: Slots, slot: int, shape: tuple[int, ...], columns: list[np.ndarray], bad: Any, further: list[Any]
) -> Batch:
    labels, video, view, substituted = map(torch.from_numpy, columns)
    clips = slots.taken_clips(slot, shape)
    targets, seconds = (None if column is None else torch.from_numpy(column) for column in further)
    return Batch(clips, labels, video, view, substituted, bad, targets, seconds)
