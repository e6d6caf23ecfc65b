"""Ranges: which values are inside, and how the error names them."""

import pickle

import pytest

from videopool.errors import InputError
from videopool.ranges import FRACTION, POSITIVE, Range


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "words"),
    [
        (Range(1), [1, 2.5], [0.99, -1], "1 or more"),
        (POSITIVE, [1e-9], [0, -1], "above 0"),
        (FRACTION, [0, 0.5, 1], [-0.1, 1.1], "from 0 to 1"),
        (Range(0, 1, below=True), [0, 0.99], [1, -1], "at least 0 and below 1"),
        (Range(0, 1, above=True), [1, 0.01], [0, 1.01], "above 0 and at most 1"),
        (Range(0, note="0: off"), [0], [-1], "0 or more (0: off)"),
    ],
)
def test_a_value_is_inside_or_named_with_the_range(
    allowed: Range, inside: list[float], outside: list[float], words: str
) -> None:
    for value in inside:
        allowed.check("alpha", value)
    for value in [*outside, float("nan"), float("inf")]:
        with pytest.raises(InputError) as caught:
            allowed.check("alpha", value)
        assert str(caught.value) == f"alpha={value} must be {words}"
        assert caught.value.setting == "alpha"


def test_every_number_of_a_list_is_inside() -> None:
    FRACTION.check("betas", (0.0, 1.0))
    with pytest.raises(InputError, match=r"betas=\[0\.5, 2\] must be from 0 to 1"):
        FRACTION.check("betas", (0.5, 2))


def test_an_error_keeps_its_setting_between_processes() -> None:
    sent = pickle.loads(pickle.dumps(InputError("root=/x is not a folder", setting="root")))
    assert (str(sent), sent.setting) == ("root=/x is not a folder", "root")
