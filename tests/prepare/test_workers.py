"""Processes that hang, crash and are killed take their task with them, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.prepare import tasks
from videopool.prepare.workers import GivenUp, work_through

NEVER: Callable[[], bool] = lambda: False  # noqa: E731


def answers(names: list[str], *, processes: int = 2, timeout: float = 60, stopped: Callable[[], bool] = NEVER) -> dict:
    found = list(work_through(tasks.answer, names, processes=processes, timeout=timeout, stopped=stopped))
    assert len(found) == len(dict(found)), "a task was answered twice"
    return dict(found)


@pytest.mark.parametrize("processes", [1, 3])
def test_every_task_is_done_once(processes: int) -> None:
    names = [f"task {number}" for number in range(20)]
    assert answers(names, processes=processes) == {name: name.upper() for name in names}


def test_no_task() -> None:
    assert answers([]) == {}


@pytest.mark.parametrize("processes", [1, 2])
def test_bad_ends_are_told_and_survived(processes: int) -> None:
    found = answers(["a", "segfault", "b", "raise", "killed", "c", "exit", "d"], processes=processes)
    assert {name: found[name] for name in "abcd"} == {"a": "A", "b": "B", "c": "C", "d": "D"}
    assert {name: answer.reason for name, answer in found.items() if isinstance(answer, GivenUp)} == {
        "segfault": "ended the process that read it (signal 11, SIGSEGV)",
        "killed": "ended the process that read it (signal 9, SIGKILL, perhaps for want of memory)",
        "exit": "ended the process that read it (exit code 3)",
        "raise": "cannot be read (IndexError: no such frame)",
    }


def test_one_that_hangs_is_given_up_and_the_others_go_on() -> None:
    found = answers(["hang", "a", "hang too", "b"], processes=1, timeout=1)
    assert found == {"hang": GivenUp("was given up after 1 s (--timeout)"), "a": "A", "hang too": "HANG TOO", "b": "B"}


def test_a_stop_ends_at_once() -> None:
    done: list[str] = []
    begun = time.monotonic()
    for task, _ in work_through(
        tasks.answer, ["a", "hang", "hang", "b"], processes=2, timeout=600, stopped=lambda: bool(done)
    ):
        done.append(task)
    assert done == ["a"]
    assert time.monotonic() - begun < 30


def test_tasks_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []
    names = (taken.append(number) or f"{number}" for number in range(1000))
    found = work_through(tasks.answer, names, processes=2, timeout=60, stopped=NEVER)
    next(found)
    assert len(taken) < 20
    found.close()


def test_a_process_that_dies_while_it_waits_costs_no_task() -> None:
    def slowly() -> object:
        for name in "abc":
            yield name
            time.sleep(0.5)

    work = work_through(tasks.die_while_waiting, slowly(), processes=1, timeout=60, stopped=NEVER)
    found = dict(work)
    assert list(found) == ["a", "b", "c"]
    assert [one for one in found.values() if isinstance(one, str)] == ["a", "b", "c"]


def test_a_process_that_cannot_begin_ends_the_work() -> None:
    with pytest.raises(RuntimeError, match=r"ended before its first video \(exit code 1\)"):
        list(work_through(tasks.Unreadable(), ["a"], processes=1, timeout=60, stopped=NEVER))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="runs on Linux")
def test_no_process_outlives_one_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys; from tests.prepare import tasks; from videopool.prepare.workers import work_through\n"
        "if __name__ == '__main__':\n"
        "    list(work_through(tasks.hang_noted, 2 * [sys.argv[1]], processes=2, timeout=600, stopped=lambda: False))\n"
    )
    noted = tmp_path / "noted"
    noted.mkdir()
    (tmp_path / "main.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(tmp_path / "main.py"), str(noted)], env=environment) as parent:
        wait_for(lambda: len(list(noted.iterdir())) == 2)
        parent.kill()
    wait_for(lambda: not any(alive(int(path.name)) for path in noted.iterdir()))


def wait_for(happens: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Whether it runs; one that has ended may be left for its parent to bury."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
