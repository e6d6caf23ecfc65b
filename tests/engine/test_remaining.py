"""The time that is left, against runs whose end is known."""

from __future__ import annotations

import pytest

from videopool.engine.watching.remaining import RemainingTime

STEP, VALIDATION = 2.0, 30.0


def validation_steps(total: int, per_epoch: int, every: int) -> list[int]:
    """Return the steps after which a run validates, as the trainer decides it."""
    found = [step for step in range(1, total + 1) if every and step % per_epoch == 0 and step // per_epoch % every == 0]
    return found if found[-1:] == [total] else [*found, total]


@pytest.mark.parametrize("every", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("start", [0, 4, 6])
def test_the_estimate_is_the_time_until_the_end(every: int, start: int) -> None:
    now, validated = 100.0, validation_steps(24, 4, every)
    left = RemainingTime(24, start_step=start, validations=validated, durations=[VALIDATION], now=lambda: now)
    assert left.seconds() is None
    estimates = []
    for step in range(start + 1, 25):
        now += STEP
        left.advance(step)
        estimates.append((now, left.seconds()))
        if step in validated:
            now += VALIDATION
            assert left.validated() == VALIDATION
            estimates.append((now, left.seconds()))
    assert left.validations_left() == 0
    assert [at + estimate for at, estimate in estimates] == [pytest.approx(now)] * len(estimates)


def test_before_the_first_validation_only_steps_count() -> None:
    now = 0.0
    left = RemainingTime(10, start_step=0, validations=[5, 10], now=lambda: now)
    now = 3.0
    left.advance(1)
    assert left.seconds() == 9 * 3.0
    assert left.validations_left() == 2


def test_steps_become_faster() -> None:
    now = 0.0
    left = RemainingTime(1000, start_step=0, validations=[1000], durations=[0.0], now=lambda: now)
    for step in range(1, 501):
        now += 5 if step <= 100 else 1
        left.advance(step)
    assert left.seconds() == 500
