"""Loader processes that die, and the batches that come all the same.

A decoder may end its process on a damaged file, and a system short of memory may end any. What a loader gives is a
function of positions, so new processes go on behind the last batch that arrived. ::

    batches given      0 1 2 3          | processes anew | 4 5 6 ...
    on their way             4 5 6 7 X                       the same as those that were lost

Each process notes which video it is decoding, in memory that it shares with the training process. A video whose
decoding ends its process twice, without having been read in between, is a bad video from then on: after one such death
it is tried again, for the end may have come from outside.

A process gives up a decode that takes too long by itself, and tells so with its batch; a video of which that is told
twice, without having been read in between, is not opened any more. A decode that keeps Python from running cannot be
given up: its process is ended from here, and its video is bad at once.
"""

from __future__ import annotations

import collections
import functools
import operator
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from torch.utils.data import DataLoader

from videopool.data.decoding.decode import Reading
from videopool.data.decoding.source import source_of
from videopool.data.loading.batches import WholeBatches
from videopool.data.loading.notes import Notes, note_in
from videopool.errors import InputError
from videopool.processes.children import exit_description
from videopool.types import Batch, VideoRecord

_DEATHS_OF_A_VIDEO = 2  # that make it a bad one
_TIMEOUTS_OF_A_VIDEO = 2  # that make it one: each costs a worker data.decode_timeout
_DEATHS_IN_A_ROW = 3  # that no video explains and no batch comes between, before the run is stopped
_LETHAL_IN_A_ROW = 20  # videos, without a clip that comes between, before the run is stopped: it is not the videos
_REAPED_SECONDS = 1.0  # in which a death becomes known after its connections broke
_LOOKS_SECONDS = 0.5  # without a batch, until it is looked whether processes have died; torch's own 5 are a long wait
_GRACE_SECONDS = 5.0  # beyond data.decode_timeout, after which a process is ended that has not given up by itself
_PYTHON_FAILED = 1  # the exit code after an exception that nobody caught
_HELD = 3  # batches at a time that the training process has in use, and one to spare


class Videos(Protocol):
    """A data set of videos; ``lethal`` says of some why they must not be opened."""

    records: Sequence[VideoRecord]
    lethal: dict[int, str]
    reading: Reading


class _Looks:
    """Looks at processes from which nothing comes, and ends those that have come to a halt: they have waited for one
    decode for so long that they would have given it up after ``decode_timeout`` seconds, if they could.

    Looks are counted, and not seconds: a run that was stopped for a while (Ctrl-Z) took none.
    """

    def __init__(self, notes: Notes, decode_timeout: float) -> None:
        self._notes, self._limit = notes, decode_timeout + _GRACE_SECONDS
        self._seen: dict[int, tuple[tuple[int, int] | None, int]] = {}  # what a process waits for, and how many times

    def get(self, get: Callable[[float], tuple[bool, Any]], processes: Sequence[BaseProcess]) -> tuple[bool, Any]:
        """What ``get`` of the loader gets within the time of a look: whether anything came, and what."""
        got = get(_LOOKS_SECONDS)
        for worker, process in () if got[0] else enumerate(processes):
            awaited = self._notes.awaited(worker)
            before, times = self._seen.get(worker, (None, 0))
            self._seen[worker] = (awaited, times + 1 if awaited is not None and awaited == before else 0)
            if self.halted(worker):
                process.kill()
        return got

    def halted(self, worker: int) -> bool:
        """Whether ``worker`` was ended, or is about to be."""
        return self._seen.get(worker, (None, 0))[1] * _LOOKS_SECONDS > self._limit


class Workers:
    """The processes of a ``DataLoader`` (or none: with ``num_workers=0`` it decodes here), replaced when they die.

    Args:
        loader: with persistent workers, which start when batches are asked for.
        videos: its data set, or the one below it; videos that end their process are added to its ``lethal``.
        batches: its data set, if it has slots.
    """

    def __init__(self, loader: DataLoader[Any], videos: Videos, batches: WholeBatches | None = None) -> None:
        self._loader, self._videos, self._batches = loader, videos, batches
        self._prepare = loader.worker_init_fn
        self._notes = Notes(0)
        self._deaths: collections.Counter[int] = collections.Counter()  # of videos not read since
        self._timeouts: collections.Counter[int] = collections.Counter()  # the same
        self._unexplained = 0  # deaths since the last batch
        self._lethal = 0  # videos found to be so since the last batch with a clip
        self._looks = _Looks(self._notes, videos.reading.timeout)
        weakref.finalize(self, _shut_down, loader)  # also at the end of the interpreter, which would kill them slowly

    def batches(self, begin: Callable[[int], None]) -> Iterator[Any]:
        """What the loader gives, once.

        Args:
            begin: called with the number of batches given so far before the loader is iterated over, at first and
                after each death: it makes the loader begin behind them.

        Raises:
            InputError: when processes die again and again, of no video or of every one.
        """
        begin(0)
        given, batches = 0, None
        while True:
            try:
                batches = self._iterator() if batches is None else batches
                batch = next(batches)
            except StopIteration:
                if self._batches is not None and self._batches.slots is not None:
                    self._batches.slots.release()
                return
            except Exception:  # torch says RuntimeError; a batch that was on its way, OSError or EOFError
                ended = self._ended()
                if not ended:
                    raise
            else:
                given += 1
                self._arrived(batch)
                yield batch
                continue
            batches = None
            self.close()
            self._judge(ended)
            begin(given)

    def close(self) -> None:
        """Stop the processes; they start again if more batches are asked for."""
        _shut_down(self._loader)

    def _iterator(self) -> Iterator[Any]:
        """Starts the processes if there are none. They get notes and slots of their own: of those before, one may still
        hang."""
        if not self._loader.num_workers or self._loader._iterator is not None:
            return iter(self._loader)
        self._notes = Notes(self._loader.num_workers)
        self._loader.worker_init_fn = functools.partial(_start, self._prepare, self._notes)
        if self._batches is not None:
            self._batches.make_slots(self._loader.num_workers * (self._loader.prefetch_factor or 1) + _HELD)
        self._looks = _Looks(self._notes, self._videos.reading.timeout)
        iterator: Any = iter(self._loader)
        iterator._try_get_data = functools.partial(self._looks.get, iterator._try_get_data, iterator._workers)
        return iterator  # type: ignore[no-any-return]

    def _ended(self) -> dict[int, int]:
        """The exit codes of the processes that have ended, by their numbers; signals are negative."""
        processes = getattr(self._loader._iterator, "_workers", [])
        if processes:
            connection.wait([process.sentinel for process in processes], timeout=_REAPED_SECONDS)
        codes = {worker: process.exitcode for worker, process in enumerate(processes)}
        return {worker: code for worker, code in codes.items() if code is not None}

    def _arrived(self, batch: object) -> None:
        self._unexplained = 0
        if not isinstance(batch, Batch):
            return
        if len(batch):
            self._lethal = 0
            for video in batch.video.tolist() if self._deaths or self._timeouts else ():
                del self._deaths[video], self._timeouts[video]
        for bad in filter(operator.attrgetter("timed_out"), batch.bad):
            self._timeouts[bad.video] += 1
            if self._timeouts[bad.video] >= _TIMEOUTS_OF_A_VIDEO:
                self._videos.lethal.setdefault(bad.video, f"{bad.reason}, twice")

    def _judge(self, ended: dict[int, int]) -> None:
        """Finds the videos at fault, and says what happened, or stops the run where there are none time and again."""
        found = False
        for worker, code in ended.items():
            given_up, awaited = self._notes.running(worker)
            if self._looks.halted(worker) and awaited:
                self._condemn(
                    awaited.pop(), "took longer to decode than data.decode_timeout, and kept Python from running"
                )
                found = True
                continue
            for video in given_up or awaited:  # what was given up has shown already that something is wrong with it
                self._suspect(video, exit_description(code), given_up=bool(given_up))
                found = True
        if found:
            return
        self._unexplained += 1
        ends = ", ".join(sorted({exit_description(code) for code in ended.values()}))
        if self._unexplained >= _DEATHS_IN_A_ROW:
            failed = set(ended.values()) == {_PYTHON_FAILED}
            mend = "mend what they say above" if failed else "give the run more memory, or lower data.workers"
            raise InputError(
                f"loader processes ended {self._unexplained} times in a row ({ends}), while they decoded no video and "
                f"before a batch came; {mend}"
            )
        _say(f"a loader process ended ({ends}) while it decoded no video; new ones go on")

    def _suspect(self, video: int, end: str, *, given_up: bool) -> None:
        self._deaths[video] += 1
        last = self._deaths[video] >= _DEATHS_OF_A_VIDEO
        where = "in which a thread left behind still decoded" if given_up else "while it decoded"
        then = " for the second time; new ones go on without it" if last else "; new ones go on, and try it once more"
        _say(f"a loader process ended ({end}) {where} {source_of(self._videos.records[video]).name}{then}")
        if last:
            gone = "took longer to decode than data.decode_timeout, until its process ended"
            self._condemn(video, f"{gone if given_up else 'ended the loader process that decoded it'} ({end})")

    def _condemn(self, video: int, reason: str) -> None:
        """From now on ``video`` is a bad one."""
        self._videos.lethal[video] = reason
        self._lethal += 1
        if self._lethal >= _LETHAL_IN_A_ROW:
            raise InputError(
                f"{self._lethal} videos in a row ended the loader process that decoded them, the last one because it "
                f"{reason}; give the run more memory, lower data.workers, or choose another data.decoder"
            )


def _shut_down(loader: DataLoader[Any]) -> None:
    iterator, loader._iterator = loader._iterator, None
    if iterator is not None and hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()


def _start(prepare: Callable[[int], None] | None, notes: Notes, worker: int) -> None:
    """In a new loader process."""
    if prepare is not None:
        prepare(worker)
    note_in(notes, worker)


def _say(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr, flush=True)
