"""Abandon a decode that takes too long."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from videopool.data.decoding.reader import TimedOutError

_Result = TypeVar("_Result")
_Outcome = tuple[object, BaseException | None]


class _DecodeThread:
    """A thread that runs functions one after another.

    It is reused, because malloc keeps the buffers of a decoder in an arena of the thread: to allocate them again takes
    longer than to decode a short clip.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self._work: queue.SimpleQueue[tuple[Callable[[], object], queue.SimpleQueue[_Outcome]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="decode", daemon=True).start()

    def start(self, function: Callable[[], object]) -> queue.SimpleQueue[_Outcome]:
        """Start ``function`` and return the queue that will contain its outcome."""
        outcome: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        self._work.put((function, outcome))
        return outcome

    def _run(self) -> None:
        while True:
            function, outcome = self._work.get()
            result: object = None
            failure: BaseException | None = None
            try:
                result = function()
            except BaseException as error:
                failure = error
            del function  # before the caller continues, who may drop the last reference and so close the video
            outcome.put((result, failure))
            del outcome, result, failure  # else the last clip would stay in memory until the next one


_idle: list[_DecodeThread] = []


def with_timeout(function: Callable[[], _Result], *, path: str | Path, seconds: float) -> _Result:
    """Run ``function`` in another thread and return its result, or abandon it after ``seconds`` of wall-clock time.

    A thread that hangs in a decoder cannot be stopped. It keeps its memory until the process ends, but does not prevent
    that.

    Raises:
        TimedOutError: if the time is over. Errors of ``function`` are raised as well.
    """
    thread = _idle.pop() if _idle else _DecodeThread()
    if thread.process != os.getpid():  # threads do not survive a fork
        thread = _DecodeThread()
    try:
        result, error = thread.start(function).get(timeout=seconds)
    except queue.Empty:
        raise TimedOutError(path, f"took longer than {seconds:g} s to decode") from None
    _idle.append(thread)
    if error is not None:
        raise error
    return cast(_Result, result)
