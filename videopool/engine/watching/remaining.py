"""How long a run will still take, its validations included."""

from __future__ import annotations

import bisect
import collections
import time
from collections.abc import Callable, Sequence

_STEPS = 200  # the mean duration of the last ones is the estimate for later steps


class RemainingTime:
    """Estimates the time until the end of a run: that of its steps plus that of its validations.

    Args:
        total_steps: of the run.
        start_step: steps that were done before.
        validations: the steps after which the run validates, rising.
        durations: seconds of validations before the run was resumed.
        now: a clock, in seconds.
    """

    def __init__(
        self,
        total_steps: int,
        *,
        start_step: int,
        validations: Sequence[int],
        durations: Sequence[float] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total_steps, self.step = total_steps, start_step
        self._due = list(validations)
        self._now, self._since = now, now()
        self._validated = start_step
        self._steps: collections.deque[tuple[int, float]] = collections.deque(maxlen=_STEPS)
        self._durations = list(durations)

    def advance(self, step: int) -> None:
        """Note that ``step`` is done."""
        now = self._now()
        self._steps.append((step - self.step, now - self._since))
        self.step, self._since = step, now

    def validated(self) -> float:
        """Note that a validation of the last step is done, and return the seconds since that step."""
        now = self._now()
        seconds = now - self._since
        self._durations.append(seconds)
        self._validated, self._since = self.step, now
        return seconds

    def validations_left(self) -> int:
        """Return how many validations are to come, including that of the last step if it is not done."""
        return len(self._due) - bisect.bisect_right(self._due, self._validated)

    def seconds(self) -> float | None:
        """Return the estimate; None before the first step. A validation counts nothing until one has been timed."""
        steps, spent = (sum(column) for column in zip(*self._steps, strict=True)) if self._steps else (0, 0.0)
        if not steps:
            return None
        validation = sum(self._durations) / len(self._durations) if self._durations else 0.0
        return (self.total_steps - self.step) * spent / steps + self.validations_left() * validation
