"""Training ends after a number of validations without a better score."""

import pytest

from videopool.engine.optimization.early_stopping import EarlyStopping
from videopool.errors import InputError


def validations_until_stop(scores: list[float], patience: int) -> int:
    """Return the number of validations that a run with these scores makes."""
    stopping, best = EarlyStopping(patience), float("-inf")
    for count, score in enumerate(scores, 1):
        stopping.note(score > best)
        best = max(best, score)
        if stopping.due:
            return count
    return len(scores)


@pytest.mark.parametrize(("patience", "expected"), [(0, 8), (1, 3), (2, 6), (3, 7), (4, 8)])
def test_the_best_score_restarts_the_count(patience: int, expected: int) -> None:
    assert validations_until_stop([0.1, 0.4, 0.3, 0.5, 0.5, 0.45, 0.49, 0.2], patience) == expected


def test_a_restored_count_continues() -> None:
    stopping = EarlyStopping(3)
    stopping.note(True)
    stopping.note(False)
    stopping.note(False)
    resumed = EarlyStopping(3)
    resumed.waited = stopping.waited
    assert not resumed.due
    resumed.note(False)
    assert resumed.due


def test_a_run_that_was_stopped_goes_on_with_more_patience() -> None:
    stopping = EarlyStopping(5)
    stopping.waited = 3
    assert not stopping.due


def test_a_negative_patience_is_refused() -> None:
    with pytest.raises(InputError, match=r"patience=-1 must be 0 or more \(0: off\)"):
        EarlyStopping(-1)
