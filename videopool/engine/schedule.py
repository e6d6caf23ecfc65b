"""Learning-rate schedules: pure functions of the progress of training, built from fvcore's schedulers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from fvcore.common.param_scheduler import (
    CompositeParamScheduler,
    ConstantParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
)

from videopool.errors import InputError

Schedule = Callable[[float], float]  # progress in [0, 1) -> factor of the peak learning rate


def build_schedule(
    kind: Literal["cosine", "multistep", "constant"],
    *,
    epochs: float,
    warmup_epochs: float = 0.0,
    warmup_start: float = 0.01,
    final: float = 0.0,
    milestones: tuple[float, ...] = (),
    gamma: float = 0.1,
) -> Schedule:
    """Return a schedule with linear warm-up.

    The main schedule runs over all ``epochs``, warm-up included: cosine falls from 1 to ``final`` as
    (1 + cos(pi * progress)) / 2 (Loshchilov & Hutter 2017); multistep multiplies by ``gamma`` at each of the
    ``milestones`` (epochs). Warm-up rises from ``warmup_start`` times its first value to its value at
    ``warmup_epochs``, so the rate is continuous.

    Raises:
        InputError: if ``warmup_epochs`` or ``milestones`` are not before the end, or milestones not whole epochs.
    """
    main = _main(kind, epochs, final, milestones, gamma)
    warm = warmup_epochs / epochs
    if warm == 0:
        return main
    if warm >= 1:
        raise InputError(
            f"warmup_epochs={warmup_epochs:g} must be smaller than epochs={epochs:g}", setting="warmup_epochs"
        )
    ramp = LinearParamScheduler(warmup_start * main(0.0), main(warm))
    return CompositeParamScheduler([ramp, main], lengths=[warm, 1 - warm], interval_scaling=["rescaled", "fixed"])


def _main(kind: str, epochs: float, final: float, milestones: tuple[float, ...], gamma: float) -> ParamScheduler:
    if kind == "constant":
        return ConstantParamScheduler(1.0)
    if kind == "cosine":
        return CosineParamScheduler(1.0, final)
    values = [gamma**passed for passed in range(len(milestones) + 1)]
    if milestones[-1] >= epochs:
        raise InputError(f"milestones={list(milestones)} must be smaller than epochs={epochs:g}", setting="milestones")
    if any(float(m) != int(m) for m in (*milestones, epochs)):
        raise InputError(f"milestones={list(milestones)} must be whole epochs", setting="milestones")
    return MultiStepParamScheduler(values, num_updates=int(epochs), milestones=[int(m) for m in milestones])
