"""Tasks for the workers of ``videopool.processes.pool``, some of which end badly."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

END = {
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(3),
    "hang": lambda: time.sleep(600),
}


def answer(task: str) -> str:
    """Return the task in capitals; the tasks in END end the process or hang, and "raise" raises."""
    if task == "raise":
        raise IndexError("no such frame\nand more lines")
    if task in END:
        END[task]()
    return task.upper()


def hang_registered(folder: str) -> None:
    """Create a file named after the process in ``folder``, ignore SIGTERM and hang."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


def die_while_waiting(task: str) -> str:
    """Answer, and kill this process a little later, while it waits for another task."""
    if os.fork() == 0:
        time.sleep(0.1)
        os.kill(os.getppid(), signal.SIGKILL)
        os._exit(0)
    return task


class CannotStartError(Exception):
    """Raised when a worker unpickles ``Unreadable``."""


def refuse_to_be_read() -> None:
    raise CannotStartError


class Unreadable:
    """Work that another process cannot unpickle."""

    def __call__(self, task: str) -> str:
        return task

    def __reduce__(self) -> tuple:
        return refuse_to_be_read, ()
