"""The worker processes of preparation: a pool whose fork server has imported what reads and writes videos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from videopool.processes.pool import Answer, Failure, Task, WorkerPool

_PRELOAD = ("videopool.data.loading.dataset", "av", "videopool.prepare.measure", "videopool.prepare.encode")


def work_through(
    work: Callable[[Task], Answer],
    tasks: Iterable[Task],
    *,
    processes: int,
    timeout: float,
    stopped: Callable[[], bool],
) -> Iterator[tuple[Task, Answer | Failure]]:
    """Yield each of ``tasks`` with its answer, as they finish; the arguments are those of ``WorkerPool``."""
    pool = WorkerPool(work, processes=processes, timeout=timeout, stopped=stopped, preload=_PRELOAD)
    yield from pool.answers(tasks)
