"""Ranges: which values are inside, and the error for others."""

import pickle

import pytest

from videopool.errors import InputError
from videopool.ranges import FRACTION, POSITIVE, Range


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "expected"),
    [
        (Range(1), [1, 2.5], [0.99, -1], "1 or more"),
        (POSITIVE, [1e-9], [0, -1], "above 0"),
        (FRACTION, [0, 0.5, 1], [-0.1, 1.1], "from 0 to 1"),
        (Range(0, 1, below=True), [0, 0.99], [1, -1], "at least 0 and below 1"),
        (Range(0, 1, above=True), [1, 0.01], [0, 1.01], "above 0 and at most 1"),
        (Range(0, note="0: off"), [0], [-1], "0 or more (0: off)"),
    ],
)
def test_check_of_one_number(allowed: Range, inside: list[float], outside: list[float], expected: str) -> None:
    for value in inside:
        allowed.check("alpha", value)
    for value in [*outside, float("nan"), float("inf")]:
        with pytest.raises(InputError) as caught:
            allowed.check("alpha", value)
        assert str(caught.value) == f"alpha={value} must be {expected}"
        assert caught.value.setting == "alpha"


def test_check_of_a_list() -> None:
    FRACTION.check("betas", (0.0, 1.0))
    with pytest.raises(InputError, match=r"betas=\[0\.5, 2\] must be from 0 to 1"):
        FRACTION.check("betas", (0.5, 2))


def test_pickled_error_keeps_its_setting() -> None:
    sent = pickle.loads(pickle.dumps(InputError("root=/x is not a folder", setting="root")))
    assert (str(sent), sent.setting) == ("root=/x is not a folder", "root")
