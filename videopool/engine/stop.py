"""Stopping on request: the first of some signals ends training after the running step, with a checkpoint.

SIGTERM and SIGUSR1 come from queues, SIGINT from Ctrl-C, SIGHUP from a terminal that is gone. What was started with
nohup outlives its terminal.
"""

from __future__ import annotations

import signal
import types

EXIT_STOPPED = 75  # the exit code that tells a queue to start the same command again


class StopRequest:
    """Listens for signals while it is entered; ``requested`` turns True at the first, a second SIGINT interrupts."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, *(() if nohup else (signal.SIGHUP,))):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
