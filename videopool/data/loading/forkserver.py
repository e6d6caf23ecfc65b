"""The server that processes are forked from, and what is said of those that end.

A signal that asks for a stop may reach every process of a run, as Ctrl-C in a terminal does. The process that was
started answers it, and may need the others for that: training finishes its step.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Sequence
from multiprocessing import forkserver, resource_tracker
from typing import Any

from videopool.errors import InputError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def fork_server(preload: Sequence[str]) -> Any:
    """The context of the fork server, which is running; it imports ``preload`` once, for all that are forked from it.

    It is born with ``STOP_SIGNALS`` blocked, for it takes seconds to import, and so are its children, for the moment
    before they have looked after themselves: ``hear_stop_signals`` lets through what came meanwhile. The first caller
    of a process decides what is imported.

    Forking the calling process itself would copy the locks of its threads and its CUDA context; spawning would import
    torch and the main script in every child.

    Raises:
        InputError: in a script that comes from standard input, which a child could not read again, and in one that a
            child imports, as all children do with the main script.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError('other processes import your script: put what it does under `if __name__ == "__main__":`')
    if getattr(sys.modules["__main__"], "__file__", None) == "<stdin>":
        raise InputError("a script from standard input cannot start other processes; write it to a file (or workers=0)")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    resource_tracker.ensure_running()  # before the mask, which the start of it takes off
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        forkserver.ensure_running()  # inherits the mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def hear_stop_signals() -> None:
    """In a child, once it has said what it does at each of them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def how_it_ended(code: int | None) -> str:
    """``signal 11, SIGSEGV`` or ``exit code 1``: an exit code of ``multiprocessing`` in words."""
    if code is None or code >= 0:
        return f"exit code {code}"
    named = {number.value: f", {number.name}" for number in signal.Signals}
    perhaps = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
    return f"signal {-code}{named.get(-code, '')}{perhaps}"
