"""Ranges of numbers that settings allow: one check and one wording for constructors, configuration keys and options."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from videopool.errors import InputError


@dataclasses.dataclass(frozen=True)
class Range:
    """The finite numbers from ``least`` to ``most``, both included unless the range is open there.

    Attributes:
        least, most: the bounds; None is no bound.
        above, below: ``least`` or ``most`` itself is outside.
        note: what a special value means, e.g. ``"0: off"``.
    """

    least: float | None = None
    most: float | None = None
    above: bool = False
    below: bool = False
    note: str = ""

    def __contains__(self, value: float) -> bool:
        low = self.least is None or value > self.least or (value == self.least and not self.above)
        most = math.inf if self.most is None else self.most
        high = value < most or (value == self.most and not self.below)
        return low and high

    def __str__(self) -> str:
        note = f" ({self.note})" if self.note else ""
        if self.most is None:
            return f"above {self.least:g}{note}" if self.above else f"{self.least:g} or more{note}"
        if self.above or self.below:
            low = "above" if self.above else "at least"
            return f"{low} {self.least:g} and {'below' if self.below else 'at most'} {self.most:g}{note}"
        return f"from {self.least:g} to {self.most:g}{note}"

    def check(self, name: str, value: float | Sequence[float]) -> None:
        """Raise ``InputError`` for the setting ``name`` if ``value``, or one number of it, is outside."""
        if not all(number in self for number in (value if isinstance(value, Sequence) else (value,))):
            value = list(value) if isinstance(value, tuple) else value
            raise InputError(f"{name}={value} must be {self}", setting=name)


POSITIVE = Range(0, above=True)
FRACTION = Range(0, 1)
AT_LEAST_ZERO = Range(0)
AT_LEAST_ONE = Range(1)
ZERO_IS_OFF = Range(0, note="0: off")
