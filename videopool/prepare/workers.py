"""Tasks done by processes that may hang, crash or be killed: the task is given up then, all others go on.

Every process does one task after the other. One that exceeds its time or dies is replaced; they all come from a fork
server that has imported what they need, so that takes milliseconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from videopool.data.loading.forkserver import fork_server, how_it_ended

Task = TypeVar("Task")
Answer = TypeVar("Answer")

PRELOAD = ("videopool.data.loading.dataset", "av", "videopool.prepare.measure", "videopool.prepare.encode")
_LOOK_SECONDS = 0.2  # between two looks at the clock, and at whether a stop was asked for


@dataclasses.dataclass(frozen=True)
class GivenUp:
    """In the place of an answer: why there is none."""

    reason: str


class _Exhausted:
    """In the place of a task: there is none left."""


def work_through(
    work: Callable[[Task], Answer],
    tasks: Iterable[Task],
    *,
    processes: int,
    timeout: float,
    stopped: Callable[[], bool],
) -> Iterator[tuple[Task, Answer | GivenUp]]:
    """Does ``tasks`` in ``processes`` processes; gives each with its answer, in the order in which they end.

    Args:
        work: does one task; a function that other processes can import.
        tasks: taken one by one, as processes become free.
        timeout: seconds for one task.
        stopped: asked several times a second; when it says yes, what is being done is dropped and the iterator ends.

    Raises:
        RuntimeError: when a process dies before it could begin, as it does where an import fails.
    """
    crew = _Crew(work, iter(tasks), processes, timeout)
    try:
        while crew.hand_out() and not stopped():
            yield from crew.collect()
    finally:
        crew.dismiss()


class _Worker(Generic[Task, Answer]):
    """A process: it starts, is ready for good, and from then on either idle or busy with its task."""

    def __init__(self, context: Any, work: Callable[[Task], Answer]) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        self.process.start()
        theirs.close()
        self.ready = self.idle = False
        self.task: Task
        self.deadline = float("inf")

    def begin(self, task: Task, timeout: float) -> None:
        """Raises OSError where the process is dead."""
        self.connection.send(task)
        self.task, self.idle = task, False
        self.deadline = time.monotonic() + timeout

    @property
    def busy(self) -> bool:
        """Whether a task is being done."""
        return self.ready and not self.idle

    def kill(self) -> None:
        self.process.kill()  # the decoder that hangs, hangs in native code, where no softer signal is heard
        self.process.join()
        self.connection.close()


class _Crew(Generic[Task, Answer]):
    """The processes of one ``work_through``."""

    def __init__(self, work: Callable[[Task], Answer], tasks: Iterator[Task], processes: int, timeout: float) -> None:
        self._work, self._tasks, self._processes, self._timeout = work, tasks, processes, timeout
        self._workers: list[_Worker[Task, Answer]] = []
        self._next: Task | _Exhausted = next(tasks, _Exhausted())
        self._context = fork_server(PRELOAD)

    def hand_out(self) -> bool:
        """Gives tasks to whoever waits for one, and starts processes; False once there is nothing left to do."""
        for worker in self._workers:
            if worker.idle and not isinstance(self._next, _Exhausted):
                with contextlib.suppress(OSError):  # it died while it waited; collect() hears of it
                    worker.begin(self._next, self._timeout)
                    self._next = next(self._tasks, _Exhausted())
        while not isinstance(self._next, _Exhausted) and len(self._workers) < self._processes:
            self._workers.append(_Worker(self._context, self._work))
        return not isinstance(self._next, _Exhausted) or any(worker.busy for worker in self._workers)

    def collect(self) -> Iterator[tuple[Task, Answer | GivenUp]]:
        """Waits a little, and gives what was done meanwhile."""
        heard = wait([worker.connection for worker in self._workers], timeout=_LOOK_SECONDS)
        for worker in [worker for worker in self._workers if worker.connection in heard]:
            yield from self._listen(worker)
        now = time.monotonic()
        for worker in [worker for worker in self._workers if worker.deadline < now]:
            yield from self._replace(worker, f"was given up after {self._timeout:g} s (--timeout)")

    def dismiss(self) -> None:
        """Ends all processes at once."""
        for worker in self._workers:
            worker.kill()
        self._workers.clear()

    def _listen(self, worker: _Worker[Task, Answer]) -> Iterator[tuple[Task, Answer | GivenUp]]:
        try:
            content = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join()
            yield from self._replace(
                worker, f"ended the process that read it ({how_it_ended(worker.process.exitcode)})"
            )
            return
        if worker.busy:
            yield worker.task, content
        worker.ready = worker.idle = True
        worker.deadline = float("inf")

    def _replace(self, worker: _Worker[Task, Answer], reason: str) -> Iterator[tuple[Task, Answer | GivenUp]]:
        """Lets go of a process that is dead or too slow; another one is started when there is a task for it."""
        worker.kill()
        self._workers.remove(worker)
        if not worker.ready:
            raise RuntimeError(f"a process ended before its first video ({how_it_ended(worker.process.exitcode)})")
        if worker.busy:
            yield worker.task, GivenUp(reason)


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    """The life of a process: tasks in, answers out, until the other end is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection.send(None)  # ready
    # FFmpeg writes about every broken file, into the bar of the one who watches.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            answer = work(task)
        except Exception as error:  # a broken file can make a library raise anything
            answer = GivenUp(f"cannot be read ({type(error).__name__}: {str(error).partition(chr(10))[0]})")
        connection.send(answer)


def _end_with_parent() -> None:
    """A decoder that hangs would outlive a parent that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
