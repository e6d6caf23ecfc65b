"""A pool of worker processes that may hang, crash or be killed: that costs the task at hand, and all others continue.

Each process does one task after another. One that exceeds its time or dies is replaced. All come from a fork server
that has imported what they need, so a replacement takes milliseconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from videopool.processes.children import exit_description, exit_now, fork_server, when_parent_ends

Task = TypeVar("Task")
Answer = TypeVar("Answer")

_POLL_SECONDS = 0.2  # between two checks of deadlines and of ``stopped``


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a task has no answer: ``reason`` completes a sentence about the task, as in "took longer than 60 s"."""

    reason: str


class WorkerPool(Generic[Task, Answer]):
    """Processes that do tasks. They end with ``answers``, and when this process is killed.

    Args:
        work: does one task; a function that other processes can import. The fork server imports its module once.
        processes: how many tasks run at a time.
        timeout: seconds for one task.
        stopped: called several times a second; once it returns True, running tasks are dropped and ``answers`` ends.
    """

    def __init__(
        self,
        work: Callable[[Task], Answer],
        *,
        processes: int,
        timeout: float,
        stopped: Callable[[], bool],
    ) -> None:
        self._work, self._processes, self._timeout, self._stopped = work, processes, timeout, stopped
        self._workers: list[_Worker[Task, Answer]] = []
        function = work.func if isinstance(work, functools.partial) else work
        self._context = fork_server([function.__module__])

    def answers(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Answer | Failure]]:
        """Yield each task with its answer, in the order in which they finish. Tasks are drawn as processes become free.

        Raises:
            RuntimeError: if a process dies before it is ready, for example because an import fails.
        """
        self._tasks = iter(tasks)
        self._next = list(itertools.islice(self._tasks, 1))  # the next task; empty after the last one
        try:
            while self._assign() and not self._stopped():
                yield from self._collect()
        finally:
            for worker in self._workers:
                worker.kill()
            self._workers.clear()

    def _assign(self) -> bool:
        """Give tasks to idle workers and start missing ones; return False when nothing is left to do."""
        for worker in self._workers:
            if worker.idle and self._next:
                with contextlib.suppress(OSError):  # it died while it waited; _collect() notices
                    worker.begin(self._next[0], self._timeout)
                    self._next = list(itertools.islice(self._tasks, 1))
        while self._next and len(self._workers) < self._processes:
            self._workers.append(_Worker(self._context, self._work))
        return bool(self._next) or any(worker.busy for worker in self._workers)

    def _collect(self) -> Iterator[tuple[Task, Answer | Failure]]:
        """Wait a moment, and yield what was finished."""
        readable = wait([worker.connection for worker in self._workers], timeout=_POLL_SECONDS)
        for worker in [worker for worker in self._workers if worker.connection in readable]:
            yield from self._receive(worker)
        now = time.monotonic()
        for worker in [worker for worker in self._workers if worker.deadline < now]:
            yield from self._remove(worker, f"took longer than {self._timeout:g} s")

    def _receive(self, worker: _Worker[Task, Answer]) -> Iterator[tuple[Task, Answer | Failure]]:
        try:
            answer = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            yield from self._remove(worker, f"ended its worker process ({exit_description(worker.process.exitcode)})")
            return
        if worker.busy:
            yield worker.task, answer
        worker.ready = worker.idle = True
        worker.deadline = float("inf")

    def _remove(self, worker: _Worker[Task, Answer], reason: str) -> Iterator[tuple[Task, Answer | Failure]]:
        """Drop a worker that is dead or too slow; ``_assign`` replaces it when there is a task for another."""
        worker.kill()
        self._workers.remove(worker)
        if not worker.ready:
            end = exit_description(worker.process.exitcode)
            raise RuntimeError(f"a worker process ended before its first task ({end})")
        if worker.busy:
            yield worker.task, Failure(reason)


class _Worker(Generic[Task, Answer]):
    """A process: it becomes ready once, and from then on is idle or busy with its task."""

    def __init__(self, context: Any, work: Callable[[Task], Answer]) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        self.process.start()
        theirs.close()
        self.ready = self.idle = False
        self.task: Task
        self.deadline = float("inf")

    def begin(self, task: Task, timeout: float) -> None:
        """Send ``task``; raises OSError if the process is dead."""
        self.connection.send(task)
        self.task, self.idle = task, False
        self.deadline = time.monotonic() + timeout

    @property
    def busy(self) -> bool:
        """Whether it works on a task."""
        return self.ready and not self.idle

    def kill(self) -> None:
        self.process.kill()  # a decoder that hangs in native code reacts to no other signal
        self.process.join()
        self.connection.close()


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    """Receive tasks and send answers until the other end is closed."""
    when_parent_ends(exit_now)
    connection.send(None)  # ready
    # FFmpeg writes about every broken file to standard error, which would break up the progress bar.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            answer = work(task)
        except Exception as error:  # a library may raise anything on a broken file
            answer = Failure(f"failed ({type(error).__name__}: {str(error).partition(chr(10))[0]})")
        connection.send(answer)
