"""Restart loader workers that die, without losing a batch.

A decoder may crash its process on a damaged file, and a system without memory may kill any process. What a loader
yields is a function of positions, so new workers continue after the last batch that arrived. ::

    batches yielded    0 1 2 3          | new workers | 4 5 6 ...
    in progress              4 5 6 7 X                  the same as those that were lost

Each worker records in shared memory which video it is decoding. A video whose decode ends two workers, without having
been read in between, is excluded from then on. After one death it is tried again, since the cause may be external.

A worker abandons a decode that takes too long, and reports that with its batch. A video for which two are reported,
without having been read in between, is not opened again. A decode that blocks all of Python cannot be abandoned: its
worker is killed from here, and the video is excluded at once.
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
from typing import Any

from torch.utils.data import DataLoader

from videopool.data.decoding.source import source_of
from videopool.data.loading.active_decodes import ActiveDecodes, record_in
from videopool.data.loading.batches import BatchDataset
from videopool.data.loading.dataset import Videos
from videopool.data.loading.torch_loader import Get, has_workers, stop_workers, watch, worker_processes
from videopool.errors import InputError
from videopool.processes.children import exit_description
from videopool.types import Batch

_DEATHS_OF_A_VIDEO = 2  # that exclude it
_TIMEOUTS_OF_A_VIDEO = 2  # that exclude it; each costs a worker the timeout
_DEATHS_IN_A_ROW = 3  # without a video at fault and without a batch, before the run is stopped
_EXCLUDED_IN_A_ROW = 20  # videos without a clip in between, before the run is stopped: the videos are not the cause
_REAPED_SECONDS = 1.0  # until a death is known after its connections broke
_POLL_SECONDS = 0.5  # without a batch, until dead and hanging workers are looked for; torch waits 5
_GRACE_SECONDS = 5.0  # beyond the timeout, after which a worker is killed that has not abandoned its decode
_PYTHON_FAILED = 1  # the exit code after an uncaught exception
_HELD_BATCHES = 3  # those that the training process uses at a time, and a spare one


class _HangDetector:
    """Kills workers that have waited for one decode far longer than ``timeout``, which they would have abandoned.

    It counts polls and not seconds, since a run that was suspended (Ctrl-Z) made none.
    """

    def __init__(self, decodes: ActiveDecodes, timeout: float) -> None:
        self._decodes, self._limit = decodes, timeout + _GRACE_SECONDS
        self._polls: dict[int, tuple[tuple[int, int] | None, int]] = {}  # what a worker waits for, for how many polls

    def get(self, processes: Sequence[BaseProcess], get: Get) -> tuple[bool, Any]:
        """Wait for a batch with ``get``, and check ``processes`` if none arrives."""
        arrived = get(_POLL_SECONDS)
        for worker, process in () if arrived[0] else enumerate(processes):
            awaited = self._decodes.awaited(worker)
            before, polls = self._polls.get(worker, (None, 0))
            self._polls[worker] = (awaited, polls + 1 if awaited is not None and awaited == before else 0)
            if self.hangs(worker):
                process.kill()
        return arrived

    def hangs(self, worker: int) -> bool:
        """Return whether ``worker`` hangs, and so was killed."""
        return self._polls.get(worker, (None, 0))[1] * _POLL_SECONDS > self._limit


class WorkerSupervisor:
    """Iterates over a ``DataLoader`` and replaces its workers when they die. With ``num_workers=0`` there are none.

    Args:
        loader: with persistent workers, which start when batches are asked for.
        videos: its data set, or the one that it wraps; videos that end their worker are added to ``excluded``.
        batches: its data set, if it has slots.
    """

    def __init__(self, loader: DataLoader[Any], videos: Videos, batches: BatchDataset | None = None) -> None:
        self._loader, self._videos, self._batches = loader, videos, batches
        self._start_worker = loader.worker_init_fn
        self._decodes = ActiveDecodes(0)
        self._deaths: collections.Counter[int] = collections.Counter()  # of each video since it was last read
        self._timeouts: collections.Counter[int] = collections.Counter()  # the same
        self._deaths_without_batch = 0  # without a video at fault
        self._excluded_without_clip = 0
        self._hang_detector = _HangDetector(self._decodes, videos.reading.timeout)
        weakref.finalize(self, stop_workers, loader)  # the interpreter would end them slowly

    def batches(self, start: Callable[[int], None]) -> Iterator[Any]:
        """Iterate over the loader once.

        Args:
            start: called with the number of batches yielded so far, first and after each death; it makes the loader
                start after them.

        Raises:
            InputError: if workers die again and again without a video at fault, or at every video.
        """
        start(0)
        count, batches = 0, None
        while True:
            try:
                batches = self._iterate() if batches is None else batches
                batch = next(batches)
            except StopIteration:
                if self._batches is not None and self._batches.slots is not None:
                    self._batches.slots.release()
                return
            except Exception:  # torch raises RuntimeError; a batch cut off on its way, OSError or EOFError
                ended = self._exit_codes()
                if not ended:
                    raise
            else:
                count += 1
                self._note_batch(batch)
                yield batch
                continue
            batches = None
            self.close()
            self._find_cause(ended)
            start(count)

    def close(self) -> None:
        """Stop the workers; they start again if more batches are asked for."""
        stop_workers(self._loader)

    def _iterate(self) -> Iterator[Any]:
        """Return an iterator over the loader, after starting workers if there are none.

        New workers get new memory for decodes and slots, since an old one may still hang.
        """
        if not self._loader.num_workers or has_workers(self._loader):
            return iter(self._loader)
        self._decodes = ActiveDecodes(self._loader.num_workers)
        self._loader.worker_init_fn = functools.partial(_start, self._start_worker, self._decodes)
        if self._batches is not None:
            self._batches.make_slots(self._loader.num_workers * (self._loader.prefetch_factor or 1) + _HELD_BATCHES)
        self._hang_detector = _HangDetector(self._decodes, self._videos.reading.timeout)
        iterator = iter(self._loader)
        watch(self._loader, functools.partial(self._hang_detector.get, worker_processes(self._loader)))
        return iterator

    def _exit_codes(self) -> dict[int, int]:
        """Return the exit codes of the workers that have ended, by number; signals are negative."""
        processes = worker_processes(self._loader)
        if processes:
            connection.wait([process.sentinel for process in processes], timeout=_REAPED_SECONDS)
        codes = {worker: process.exitcode for worker, process in enumerate(processes)}
        return {worker: code for worker, code in codes.items() if code is not None}

    def _note_batch(self, batch: object) -> None:
        """Reset the counts of the videos of ``batch``, and count the timeouts that it reports."""
        self._deaths_without_batch = 0
        if not isinstance(batch, Batch):
            return
        if len(batch):
            self._excluded_without_clip = 0
            for video in batch.video.tolist() if self._deaths or self._timeouts else ():
                del self._deaths[video], self._timeouts[video]
        for bad in filter(operator.attrgetter("timed_out"), batch.bad):
            self._timeouts[bad.video] += 1
            if self._timeouts[bad.video] >= _TIMEOUTS_OF_A_VIDEO:
                self._videos.excluded.setdefault(bad.video, f"{bad.reason}, twice")

    def _find_cause(self, ended: dict[int, int]) -> None:
        """Count and report the deaths of the videos at fault, or stop the run after several deaths without one."""
        found = False
        for worker, code in ended.items():
            timed_out, awaited = self._decodes.running(worker)
            if self._hang_detector.hangs(worker) and awaited:
                reason = (
                    f"took longer than {self._videos.reading.timeout:g} s to decode, and blocked its worker process"
                )
                self._exclude(awaited.pop(), reason)
                found = True
                continue
            for video in timed_out or awaited:  # a decode that timed out is the more likely cause
                self._count_death(video, exit_description(code), timed_out=bool(timed_out))
                found = True
        if found:
            return
        self._deaths_without_batch += 1
        ends = ", ".join(sorted({exit_description(code) for code in ended.values()}))
        if self._deaths_without_batch >= _DEATHS_IN_A_ROW:
            failed = set(ended.values()) == {_PYTHON_FAILED}
            advice = "See their error above." if failed else "Give the run more memory, or use fewer workers."
            raise InputError(
                f"Loader workers ended {self._deaths_without_batch} times in a row ({ends}) without loading a batch, "
                f"and none of them was decoding a video. {advice}",
                setting="" if failed else "workers",
            )
        _warn(f"a loader worker ended ({ends}) while it was not decoding; restarting it")

    def _count_death(self, video: int, end: str, *, timed_out: bool) -> None:
        self._deaths[video] += 1
        last = self._deaths[video] >= _DEATHS_OF_A_VIDEO
        when = "while a decode that had timed out was still running:" if timed_out else "while it decoded"
        then = "restarting it without this video" if last else "restarting it, and trying the video once more"
        _warn(f"a loader worker ended ({end}) {when} {source_of(self._videos.records[video]).name}; {then}")
        if last:
            limit = self._videos.reading.timeout
            fault = f"took longer than {limit:g} s to decode, and then ended" if timed_out else "ended"
            self._exclude(video, f"{fault} its worker process ({end})")

    def _exclude(self, video: int, reason: str) -> None:
        """Never open ``video`` again."""
        self._videos.excluded[video] = reason
        self._excluded_without_clip += 1
        if self._excluded_without_clip >= _EXCLUDED_IN_A_ROW:
            raise InputError(
                f"{self._excluded_without_clip} videos in a row ended their worker process; the last one {reason}. "
                "Give the run more memory, use fewer workers, or choose another decoder."
            )


def _start(start_worker: Callable[[int], None] | None, decodes: ActiveDecodes, worker: int) -> None:
    """Run in a new worker."""
    if start_worker is not None:
        start_worker(worker)
    record_in(decodes, worker)


def _warn(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr, flush=True)
