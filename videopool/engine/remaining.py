"""How long a run will still take, its validations included."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Sequence

_STEPS = 200  # whose mean duration is that of the steps to come


class RemainingTime:
    """Estimates the time until the end of a run: that of its steps plus that of its validations.

    Args:
        total_steps: of the run.
        start_step: steps that were done before.
        steps_per_epoch: of the run.
        evaluate_every: epochs between validations; 0: only at the end.
        durations: seconds of validations before the run was resumed.
        now: a clock, in seconds.
    """

    def __init__(
        self,
        total_steps: int,
        *,
        start_step: int,
        steps_per_epoch: int,
        evaluate_every: int,
        durations: Sequence[float] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total_steps, self.step = total_steps, start_step
        self._period = steps_per_epoch * evaluate_every
        self._now, self._since = now, now()
        self._validated = start_step
        self._steps: collections.deque[tuple[int, float]] = collections.deque(maxlen=_STEPS)
        self._validations = list(durations)

    def advance(self, step: int) -> None:
        """Note that ``step`` is done."""
        now = self._now()
        self._steps.append((step - self.step, now - self._since))
        self.step, self._since = step, now

    def validated(self) -> float:
        """Note that a validation of the last step is done, and return the seconds since that step."""
        now = self._now()
        seconds = now - self._since
        self._validations.append(seconds)
        self._validated, self._since = self.step, now
        return seconds

    def validations_left(self) -> int:
        """Return how many validations are to come, one of the last step included if it is not done."""
        regular = self.total_steps // self._period - self._validated // self._period if self._period else 0
        at_end = not self._period or self.total_steps % self._period > 0
        return regular + int(at_end and self._validated < self.total_steps)

    def seconds(self) -> float | None:
        """Return the estimate; None before the first step. A validation counts nothing until one has been timed."""
        steps, spent = (sum(column) for column in zip(*self._steps, strict=True)) if self._steps else (0, 0.0)
        if not steps:
            return None
        validation = sum(self._validations) / len(self._validations) if self._validations else 0.0
        return (self.total_steps - self.step) * spent / steps + self.validations_left() * validation
