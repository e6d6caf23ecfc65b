"""Which settings are allowed: one check and one wording for constructors, configuration keys and options.

A configuration checks its keys before torch is imported, and names the file and line; a constructor checks what Python
passes to it. Both call these functions.
"""

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
BELOW_ONE = Range(0, 1, below=True)
POSITIVE_FRACTION = Range(0, 1, above=True)
AT_LEAST_ZERO = Range(0)
AT_LEAST_ONE = Range(1)
ZERO_IS_OFF = Range(0, note="0: off")
FRAME_RATE = Range(0, note="0: the video's own rate")
HOP = Range(0, note="0: the length of a window")
HUE = Range(0, 0.5, note="0: off")
MILDEST, STRONGEST = 0.1, 10.0  # magnitudes of augmentation: the mildest of AugMix, and that of the strongest operation
MAGNITUDE = Range(0, STRONGEST)
MIXED_MAGNITUDE = Range(MILDEST, STRONGEST)


def check_interval(name: str, bounds: Sequence[float], allowed: Range) -> None:
    """Raise ``InputError`` for the setting ``name`` unless ``bounds`` is [smallest, largest], both in ``allowed``."""
    if len(bounds) != 2 or not all(bound in allowed for bound in bounds) or bounds[0] > bounds[1]:
        raise InputError(f"{name}={list(bounds)} must be [smallest, largest], each {allowed}", setting=name)


def check_divisor(name: str, value: int, of: str, whole: int) -> None:
    """Raise ``InputError`` for the setting ``name`` unless ``value`` divides ``whole``, the value of ``of``."""
    AT_LEAST_ONE.check(name, value)
    if whole % value:
        raise InputError(f"{name}={value} must divide {of}={whole}", setting=name)


def check_window(window: float, sampling: str) -> None:
    """Raise ``InputError`` unless ``window``, in seconds, is above 0 for dense sampling and 0 for any other."""
    AT_LEAST_ZERO.check("window", window)
    if (window > 0) != (sampling == "dense"):
        needed = "above 0 seconds for dense" if sampling == "dense" else f"0 for {sampling}"
        raise InputError(f"window={window:g} must be {needed} sampling", setting="window")


def check_deinterlace(deinterlace: bool, decoder: str) -> None:
    """Raise ``InputError`` if ``decoder`` cannot deinterlace."""
    if deinterlace and decoder not in ("auto", "pyav"):
        raise InputError(f"deinterlace=true needs the decoder auto or pyav, not {decoder}", setting="deinterlace")
