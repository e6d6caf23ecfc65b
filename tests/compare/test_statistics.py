"""The tests of a comparison against values worked out by other ways."""

import itertools
import math

import numpy as np
import pytest

from videopool.compare import statistics


def every_sign(differences: list[int]) -> float:
    """By definition: the share of all sign patterns whose sum is as far from 0."""
    observed = abs(sum(differences))
    patterns = list(itertools.product((-1, 1), repeat=len(differences)))
    sums = [abs(sum(sign * abs(value) for sign, value in zip(p, differences, strict=True))) for p in patterns]
    return sum(total >= observed for total in sums) / len(patterns)


@pytest.mark.parametrize(
    "differences", [[1], [0, 0, 0], [3, 1, 2, -1], [1, 1, 1, 1, 1, 1, 1, 1, 1], [5, -2, 0, 3, 4, -1, 2]]
)
def test_sign_flip_counts_every_pattern(differences: list[int]) -> None:
    assert statistics.sign_flip(differences) == pytest.approx(every_sign(differences), rel=1e-12)


def test_sign_flip_of_single_videos_is_mcnemar_exact() -> None:
    gained, lost = 9, 2  # two-sided exact binomial test of 2 in 11
    tail = sum(math.comb(11, k) for k in range(lost + 1)) / 2**11
    assert statistics.sign_flip([1] * gained + [-1] * lost + [0] * 70) == pytest.approx(2 * tail, rel=1e-12)


def test_sign_flip_of_many_is_exact_and_quick() -> None:
    assert statistics.sign_flip([2] * 300) == pytest.approx(2.0**-299, rel=1e-12)


def test_smallest_p_is_reached() -> None:
    assert statistics.smallest_p(9) == statistics.sign_flip([1, 2, 3, 1, 2, 3, 1, 2, 3]) == 2 / 512


def test_holm_by_hand() -> None:
    # sorted .01 .02 .03 .04 by 4 3 2 1: .04 .06 .06 .04, made increasing
    assert statistics.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def outcomes(right: np.ndarray) -> dict:
    """right [folds, seeds, videos of a fold] of 0 and 1."""
    return {
        (f, s): {f"v{f}-{v}": int(right[f, s, v]) for v in range(right.shape[2])}
        for f in range(right.shape[0])
        for s in range(right.shape[1])
    }


def test_compare_by_hand() -> None:
    reference = np.zeros((3, 3, 4), dtype=int)
    better = reference.copy()
    better[:, :, 0] = 1  # one video more in every run: 9 pairs of +1, 3 videos of +3
    found = statistics.compare({"a": outcomes(reference), "b": outcomes(better), "c": outcomes(reference)}, "a")
    assert found.keys() == {"b", "c"}
    assert found["b"].mean == pytest.approx(0.25)
    assert found["b"].pairs == 9
    assert found["b"].p_runs == pytest.approx(2 / 2**9)
    assert found["b"].p_videos == pytest.approx(2 / 2**3)
    assert found["b"].p == pytest.approx(0.25)
    assert found["b"].p_holm == pytest.approx(0.5)
    assert found["b"].p_smallest == pytest.approx(2 * 2 / 2**9)
    assert (found["c"].mean, found["c"].p_holm, found["c"].low, found["c"].high) == (0, 1, 0, 0)


def test_pairs_are_runs_that_both_have() -> None:
    whole, part = outcomes(np.ones((2, 2, 3), dtype=int)), outcomes(np.zeros((2, 1, 3), dtype=int))
    found = statistics.difference(part, whole)
    assert (found.pairs, found.mean) == (2, -1)
    assert statistics.compare({"whole": whole, "none": {}}, "whole") == {}


def test_interval_of_one_seed_is_the_bootstrap_over_videos() -> None:
    values = np.random.default_rng(3).integers(-1, 2, 60)
    low, high = statistics.interval({(f"v{i:02}", 0): int(v) for i, v in enumerate(values)})
    draws = np.random.default_rng(9).choice(values, (20_000, 60)).mean(1)
    assert (low, high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.02)
    error = values.std() / math.sqrt(60)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_interval_takes_in_the_seeds() -> None:
    """All videos go up with one seed and down with the other: the videos agree, the seeds do not."""
    low, high = statistics.interval({(f"v{i}", seed): 1 - 2 * seed for i in range(50) for seed in (0, 1)})
    assert (low, high) == (-1, 1)
