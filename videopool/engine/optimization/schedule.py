"""Learning-rate schedules: pure functions of the progress of training.

Progress p is the number of finished steps over the number of all steps, from 0 to below 1. A schedule returns the
factor of the peak learning rate. With W = ``warmup_epochs / epochs``, C = ``cooldown_epochs / epochs``, f = ``final``::

    constant     1
    multistep    gamma ** (number of milestones passed)
    cosine       f + (1 - f) * (1 + cos(pi * q)) / 2    q = p / (1 - C), at most 1
    polynomial   f + (1 - f) * (1 - q) ** power         q = p / (1 - C), at most 1
    one_cycle    f + (1 - f) * (1 + cos(pi * q)) / 2    q = (p - W) / (1 - W - C), from 0 to 1

Warm-up (p < W) rises from ``warmup_start * s(0)`` to ``s(W)`` of the schedule s above, so the rate is continuous: along
a line, and with one_cycle along a half cosine. With ``decay_after_warmup``, cosine and polynomial have the q of
one_cycle: they decay from the end of the warm-up.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Callable
from typing import Literal

from videopool.errors import InputError

Schedule = Callable[[float], float]  # progress in [0, 1) -> factor of the peak learning rate
Kind = Literal["cosine", "multistep", "constant", "polynomial", "one_cycle"]

_ROUNDING = 1e-6  # of progress; a step this close before a boundary counts as after it


def build_schedule(
    kind: Kind,
    *,
    epochs: float,
    warmup_epochs: float = 0.0,
    warmup_start: float = 0.01,
    final: float = 0.0,
    cooldown_epochs: float = 0.0,
    milestones: tuple[float, ...] = (),
    gamma: float = 0.1,
    power: float = 1.0,
    decay_after_warmup: bool = False,
    factor: Schedule | None = None,
) -> Schedule:
    """Return a schedule; the module gives the formulas.

    Args:
        kind: cosine (Loshchilov & Hutter 2017), multistep, constant, polynomial, or one_cycle (Smith & Topin 2018; the
            half cosines of ``torch.optim.lr_scheduler.OneCycleLR``, without cycling the momentum).
        epochs: the length of training, warm-up and cool-down included.
        warmup_epochs: length of the warm-up; for one_cycle, of the rise.
        warmup_start: the factor at the start of the warm-up, relative to that at progress 0 without warm-up.
        final: the factor at the end of cosine, polynomial and one_cycle.
        cooldown_epochs: the last epochs, in which cosine, polynomial and one_cycle stay at ``final``.
        milestones: the epochs at which multistep multiplies by ``gamma``.
        power: of polynomial.
        decay_after_warmup: cosine and polynomial start at the end of the warm-up, at 1, not at the start of training.
        factor: multiplies the schedule, before the warm-up is added.

    Raises:
        InputError: if warm-up and cool-down leave no time between them, if ``kind`` cannot have a cool-down or needs a
            warm-up, or if multistep has no ``milestones`` or some that are not whole epochs before the end.
    """
    _check_lengths(kind, epochs, warmup_epochs, cooldown_epochs)
    warm, end = warmup_epochs / epochs, 1 - cooldown_epochs / epochs
    start = warm if decay_after_warmup else 0.0
    if kind == "multistep":
        _check_milestones(milestones, epochs)
    shapes: dict[Kind, Schedule] = {
        "constant": _constant,
        "multistep": functools.partial(_multistep, epochs=epochs, milestones=milestones, gamma=gamma),
        "cosine": functools.partial(_cosine, final=final, start=start, end=end),
        "polynomial": functools.partial(_polynomial, final=final, power=power, start=start, end=end),
        "one_cycle": functools.partial(_cosine, final=final, start=warm, end=end),
    }
    main = shapes[kind] if factor is None else functools.partial(_product, one=shapes[kind], other=factor)
    if not warm:
        return main
    rise = _half_cosine if kind == "one_cycle" else _line
    return functools.partial(_warmed_up, main=main, rise=rise, length=warm, start=warmup_start)


def _product(progress: float, *, one: Schedule, other: Schedule) -> float:
    return one(progress) * other(progress)


def _constant(progress: float) -> float:
    return 1.0


def _multistep(progress: float, *, epochs: float, milestones: tuple[float, ...], gamma: float) -> float:
    epoch = int((progress + _ROUNDING) * epochs)
    return gamma ** bisect.bisect_right(milestones, epoch)


def _cosine(progress: float, *, final: float, start: float, end: float) -> float:
    return final + 0.5 * (1 - final) * (1 + math.cos(math.pi * _between(progress, start, end)))


def _polynomial(progress: float, *, final: float, power: float, start: float, end: float) -> float:
    return final + (1 - final) * (1 - _between(progress, start, end)) ** power


def _between(progress: float, start: float, end: float) -> float:
    """Return the progress from ``start`` to ``end``: 0 before it, 1 after it."""
    return min(max((progress - start) / (end - start), 0.0), 1.0)


def _warmed_up(
    progress: float, *, main: Schedule, rise: Callable[[float, float, float], float], length: float, start: float
) -> float:
    if progress + _ROUNDING > length:
        return main(progress)
    return rise(start * main(0.0), main(length), progress / length)


def _line(low: float, high: float, part: float) -> float:
    return high * part + low * (1 - part)


def _half_cosine(low: float, high: float, part: float) -> float:
    return high + 0.5 * (low - high) * (1 + math.cos(math.pi * part))


def _check_lengths(kind: Kind, epochs: float, warmup_epochs: float, cooldown_epochs: float) -> None:
    if warmup_epochs >= epochs:
        raise InputError(
            f"warmup_epochs={warmup_epochs:g} must be smaller than epochs={epochs:g}", setting="warmup_epochs"
        )
    if warmup_epochs + cooldown_epochs >= epochs:
        raise InputError(
            f"cooldown_epochs={cooldown_epochs:g} and warmup_epochs={warmup_epochs:g} must be shorter than "
            f"epochs={epochs:g} together",
            setting="cooldown_epochs",
        )
    if cooldown_epochs and kind in ("constant", "multistep"):
        raise InputError(
            f"cooldown_epochs={cooldown_epochs:g} has no effect with the schedule {kind}. Set it to 0, or use cosine, "
            "polynomial or one_cycle.",
            setting="cooldown_epochs",
        )
    if kind == "one_cycle" and not warmup_epochs:
        raise InputError(
            "warmup_epochs=0 must be above 0 with the schedule one_cycle: it is the length of the rise",
            setting="warmup_epochs",
        )


def _check_milestones(milestones: tuple[float, ...], epochs: float) -> None:
    if not milestones:
        raise InputError("milestones=[] must have at least one epoch with the schedule multistep", setting="milestones")
    if milestones[-1] >= epochs:
        raise InputError(f"milestones={list(milestones)} must be smaller than epochs={epochs:g}", setting="milestones")
    if any(float(m) != int(m) for m in (*milestones, epochs)):
        raise InputError(f"milestones={list(milestones)} must be whole epochs", setting="milestones")
