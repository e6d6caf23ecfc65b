"""Tasks for the processes of ``videopool.prepare.workers``, some of which end badly."""

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
    """The task in capitals, unless it is one of END, or "raise"."""
    if task == "raise":
        raise IndexError("no such frame\nand more lines")
    if task in END:
        END[task]()
    return task.upper()


def hang_noted(folder: str) -> None:
    """Writes the number of the process to a file in ``folder`` and never comes back, whatever signal it gets."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)


def die_while_waiting(task: str) -> str:
    """Answers, and kills its process a little later, when it waits for another task."""
    if os.fork() == 0:
        time.sleep(0.1)
        os.kill(os.getppid(), signal.SIGKILL)
        os._exit(0)
    return task


class CannotBeginError(Exception):
    """Raised where the task is read by the process that should do it."""


def refuse_to_be_read() -> None:
    raise CannotBeginError


class Unreadable:
    """A work that cannot be read by another process."""

    def __call__(self, task: str) -> str:
        return task

    def __reduce__(self) -> tuple:
        return refuse_to_be_read, ()
