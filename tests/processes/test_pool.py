"""Workers that hang, crash or are killed lose their task, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.processes import tasks
from videopool.processes.pool import Failure, WorkerPool

NEVER: Callable[[], bool] = lambda: False  # noqa: E731


def pool(
    work: Callable = tasks.answer, *, processes: int = 2, timeout: float = 60, stopped: Callable[[], bool] = NEVER
) -> WorkerPool:
    return WorkerPool(work, processes=processes, timeout=timeout, stopped=stopped)


def answers(names: Iterable[str], **options: float) -> dict:
    found = list(pool(**options).answers(names))
    assert len(found) == len(dict(found)), "a task was answered twice"
    return dict(found)


@pytest.mark.parametrize("processes", [1, 3])
def test_every_task_is_done_once(processes: int) -> None:
    names = [f"task {number}" for number in range(20)]
    assert answers(names, processes=processes) == {name: name.upper() for name in names}


def test_no_task() -> None:
    assert answers([]) == {}


@pytest.mark.parametrize("processes", [1, 2])
def test_crashes_are_reported_and_survived(processes: int) -> None:
    found = answers(["a", "segfault", "b", "raise", "killed", "c", "exit", "d"], processes=processes)
    assert {name: found[name] for name in "abcd"} == {"a": "A", "b": "B", "c": "C", "d": "D"}
    assert {name: answer.reason for name, answer in found.items() if isinstance(answer, Failure)} == {
        "segfault": "ended its worker process (signal 11, SIGSEGV)",
        "killed": "ended its worker process (signal 9, SIGKILL, possibly out of memory)",
        "exit": "ended its worker process (exit code 3)",
        "raise": "failed (IndexError: no such frame)",
    }


@pytest.mark.slow
def test_a_task_that_hangs_times_out_and_the_others_continue() -> None:
    found = answers(["hang", "a", "hang too", "b"], processes=1, timeout=1)
    assert found == {"hang": Failure("took longer than 1 s"), "a": "A", "hang too": "HANG TOO", "b": "B"}


def test_a_stop_is_immediate() -> None:
    done: list[str] = []
    started = time.monotonic()
    for task, _ in pool(timeout=600, stopped=lambda: bool(done)).answers(["a", "hang", "hang", "b"]):
        done.append(task)
    assert done == ["a"]
    assert time.monotonic() - started < 30


def test_tasks_are_drawn_when_needed() -> None:
    drawn: list[int] = []
    names = (drawn.append(number) or f"{number}" for number in range(1000))
    found = pool().answers(names)
    next(found)
    assert len(drawn) < 20
    found.close()


@pytest.mark.slow
def test_a_worker_that_dies_while_it_waits_loses_no_task() -> None:
    def slowly() -> object:
        for name in "abc":
            yield name
            time.sleep(0.5)

    found = dict(pool(tasks.die_while_waiting, processes=1).answers(slowly()))
    assert list(found) == ["a", "b", "c"]
    assert [one for one in found.values() if isinstance(one, str)] == ["a", "b", "c"]


def test_a_worker_that_cannot_start_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"ended before its first task \(exit code 1\)"):
        list(pool(tasks.Unreadable(), processes=1).answers(["a"]))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="runs on Linux")
def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import sys; from tests.processes import tasks; from tests.processes.test_pool import pool\n"
        "if __name__ == '__main__':\n"
        "    list(pool(tasks.hang_registered, timeout=600).answers(2 * [sys.argv[1]]))\n"
    )
    registered = tmp_path / "registered"
    registered.mkdir()
    (tmp_path / "main.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(tmp_path / "main.py"), str(registered)], env=environment) as parent:
        wait_for(lambda: len(list(registered.iterdir())) == 2)
        parent.kill()
    wait_for(lambda: not any(alive(int(path.name)) for path in registered.iterdir()))


def wait_for(happens: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Whether the process runs; a zombie does not."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
