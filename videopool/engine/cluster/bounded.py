"""Calls that may never return, such as those over a network."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


def bounded(function: Callable[[], _Result], seconds: float) -> _Result:
    """Return ``function()``, called in another thread.

    Raises:
        TimeoutError: if it takes longer. The thread keeps running.
    """
    outcomes: queue.SimpleQueue[tuple[_Result | None, Exception | None]] = queue.SimpleQueue()

    def call() -> None:
        try:
            outcomes.put((function(), None))
        except Exception as error:
            outcomes.put((None, error))

    threading.Thread(target=call, daemon=True).start()
    try:
        result, error = outcomes.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]
