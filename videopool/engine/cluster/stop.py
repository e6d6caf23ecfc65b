"""Stop requests by signal. Training then finishes its step and saves a checkpoint.

Queues send SIGTERM or SIGUSR1, Ctrl-C sends SIGINT, and a terminal that closes sends SIGHUP, which nohup ignores.
"""

from __future__ import annotations

import signal
import types

EXIT_STOPPED = 75  # exit code; a queue should start the same command again


class StopRequest:
    """Catches signals in a ``with`` block: ``requested`` is True after the first, and a second SIGINT interrupts."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, *(() if nohup else (signal.SIGHUP,))):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
