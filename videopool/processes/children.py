"""The fork server that starts every child process, what children do about signals and a dead parent, and exit codes.

A signal that asks a run to stop may reach all of its processes, as Ctrl-C in a terminal does. Only the main process
answers it, and may still need the others: training finishes its step before it saves.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing import forkserver, resource_tracker
from typing import Any

from videopool.errors import InputError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def fork_server(preload: Sequence[str]) -> Any:
    """Start the fork server if it does not run yet, and return its multiprocessing context.

    The server imports the modules ``preload`` once, for all children. The first call in a process decides which.
    Server and children start with ``STOP_SIGNALS`` blocked, because importing takes seconds and a child needs a moment
    to install its handlers. A child that has done so calls ``unblock_stop_signals``.

    Forking the calling process instead would copy the locks of its threads and its CUDA context. Spawning would import
    torch and the main script in every child.

    Raises:
        InputError: if the main script comes from standard input, which a child cannot read again, or if a child that
            imports the main script arrives here.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError('Worker processes import your script. Put what it runs under `if __name__ == "__main__":`.')
    if getattr(sys.modules["__main__"], "__file__", None) == "<stdin>":
        raise InputError(
            "A script from standard input cannot start worker processes. Save it to a file, or use workers=0."
        )
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    resource_tracker.ensure_running()  # starting it resets the signal mask, so start it first
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        forkserver.ensure_running()  # inherits the mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def unblock_stop_signals() -> None:
    """Deliver stop signals to this child, including those that arrived while they were blocked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def when_parent_ends(action: Callable[[], object]) -> None:
    """Call ``action`` in a thread of this child when its parent ends, even if the parent was killed."""
    threading.Thread(target=_wait_for_parent, args=(action,), daemon=True).start()


def _wait_for_parent(action: Callable[[], object]) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        action()


def exit_now() -> None:
    """End this process at once with exit code 1, even if a thread hangs in native code."""
    os._exit(1)


def exit_description(code: int | None) -> str:
    """Return an exit code of ``multiprocessing`` in words: ``exit code 1`` or ``signal 11, SIGSEGV``."""
    if code is None or code >= 0:
        return f"exit code {code}"
    names = {number.value: f", {number.name}" for number in signal.Signals}
    hint = ", possibly out of memory" if -code == signal.SIGKILL else ""
    return f"signal {-code}{names.get(-code, '')}{hint}"
