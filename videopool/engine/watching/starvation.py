"""Advice when the loader keeps the device waiting."""

from __future__ import annotations

import math
import os

_SHARE = 0.1  # of the time of a step that the device may wait
_TIMES = 3  # that the advice is given, each time after ten times as many windows


class StarvationAdvice:
    """Gives advice if a loader is too slow: how many workers would be enough.

    While the device waits, all workers decode, so a clip takes ``workers * step / clips`` seconds of a worker, if a
    process computes ``clips`` in a step of ``step`` seconds. A step without waiting takes ``step - wait`` seconds, in
    which enough workers decode as many clips. Without workers the process itself decodes for ``wait`` seconds.

    Args:
        workers: loader processes of a training process; 0: it decodes itself.
        processes: training processes on this machine.
        cores: of this machine that may be used; None: ask the system.
    """

    def __init__(self, workers: int, *, processes: int = 1, cores: int | None = None) -> None:
        self._workers, self._processes = workers, processes
        self._cores = _usable_cores() if cores is None else cores
        self._windows = self._given = self._quiet = 0

    def advice(self, *, step: float, wait: float, clips: float) -> str:
        """Return a sentence; "" if the loader keeps up, or the advice is recent or was given three times.

        Args:
            step: mean seconds of a step since the last call. The first call is ignored: workers were starting.
            wait: seconds of them in which the device waited for the loader, in the process where it is longest.
            clips: mean number that a process computes in a step.
        """
        self._windows += 1
        silent = self._windows <= max(1, self._quiet) or self._given == _TIMES
        if silent or wait <= _SHARE * step or step <= wait:
            return ""
        self._given += 1
        self._quiet = 10 * self._windows
        busy = self._workers * step if self._workers else wait  # seconds of workers that the clips of a step take
        needed = math.ceil(busy / (step - wait))
        enough = f"{needed} workers" if needed > 1 else "1 worker"
        text = (
            f"The device waits for the loader {100 * wait / step:.0f} % of the time. A clip takes "
            f"{busy / clips:.2g} s of a worker. {enough} per process would keep up; there are "
            f"{self._workers}"
        )
        if needed * self._processes <= self._cores:
            return f"{text}. Set data.workers={needed}."
        several = "es" * (self._processes > 1)
        return (
            f"{text}, and {self._cores} cores for {self._processes} training process{several}. Use more cores, or "
            "decode faster with smaller videos (videopool prepare transcode)."
        )


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
