"""The tests of a comparison against values worked out by other ways."""

import itertools
import math

import numpy as np
import pytest

from videopool.compare import significance


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
    assert significance.sign_flip(differences) == pytest.approx(every_sign(differences), rel=1e-12)


def test_sign_flip_of_single_videos_is_mcnemar_exact() -> None:
    gained, lost = 9, 2  # two-sided exact binomial test of 2 in 11
    tail = sum(math.comb(11, k) for k in range(lost + 1)) / 2**11
    assert significance.sign_flip([1] * gained + [-1] * lost + [0] * 70) == pytest.approx(2 * tail, rel=1e-12)


def test_sign_flip_of_many_is_exact_and_quick() -> None:
    assert significance.sign_flip([2] * 300) == pytest.approx(2.0**-299, rel=1e-12)
    ones = significance.sign_flip([1] * 6200 + [-1] * 5800)
    assert ones == pytest.approx(2 * tail(12_000, 6200), rel=1e-9)


def tail(n: int, k: int) -> float:
    """P(X >= k) of a binomial of n fair coins, term by term."""
    return sum(math.exp(math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) - n * math.log(2))
               for j in range(k, n + 1))  # fmt: skip


def test_smallest_p_is_reached() -> None:
    assert significance.smallest_p(9) == significance.sign_flip([1, 2, 3, 1, 2, 3, 1, 2, 3]) == 2 / 512


def test_holm_by_hand() -> None:
    # sorted .01 .02 .03 .04 by 4 3 2 1: .04 .06 .06 .04, made increasing
    assert significance.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert significance.holm([0.9, 0.8]) == [1.0, 1.0]
    assert significance.holm([]) == []


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
    found = significance.compare({"a": outcomes(reference), "b": outcomes(better), "c": outcomes(reference)}, "a", 2)
    assert found.keys() == {"b", "c"}
    assert found["b"].mean == pytest.approx(0.25)
    assert found["b"].pairs == 9
    assert found["b"].p_runs == pytest.approx(2 / 2**9)
    assert found["b"].p_videos == pytest.approx(2 / 2**3)
    assert found["b"].p == pytest.approx(0.25)
    assert found["b"].p_holm == pytest.approx(0.5)
    assert found["b"].videos == 12
    assert found["b"].p_smallest == pytest.approx(2 * 2 / 2**9)
    assert (found["c"].mean, found["c"].p_holm, found["c"].low, found["c"].high) == (0, 1, 0, 0)


def test_pairs_are_runs_that_both_have() -> None:
    whole, part = outcomes(np.ones((2, 2, 3), dtype=int)), outcomes(np.zeros((2, 1, 3), dtype=int))
    found = significance.difference(part, whole)
    assert (found.pairs, found.mean) == (2, -1)
    assert significance.compare({"whole": whole, "none": {}}, "whole", 1) == {}


def test_methods_without_a_result_count_in_the_correction() -> None:
    reference = np.zeros((2, 5, 30), dtype=int)
    worse = outcomes(reference)
    better = outcomes(np.ones_like(reference))
    now = significance.compare({"a": worse, "b": better}, "a", 1)["b"]
    assert (now.p_holm, now.p_smallest) == pytest.approx((2.0**-9, 2.0**-9))
    planned = significance.compare({"a": worse, "b": better, "c": {}}, "a", 7)["b"]
    assert (planned.p_holm, planned.p_smallest) == pytest.approx((7 * 2.0**-9, 7 * 2.0**-9))


def test_few_videos_bound_the_smallest_p_as_few_runs_do() -> None:
    few = np.zeros((1, 20, 4), dtype=int)
    found = significance.compare({"a": outcomes(few), "b": outcomes(1 - few)}, "a", 1)["b"]
    assert found.p_holm == found.p_smallest == 2.0**-3


def test_interval_of_one_seed_is_the_bootstrap_over_videos() -> None:
    values = np.random.default_rng(3).integers(-1, 2, 60)
    low, high = significance.interval({(f"v{i:02}", 0): int(v) for i, v in enumerate(values)})
    draws = np.random.default_rng(9).choice(values, (20_000, 60)).mean(1)
    assert (low, high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.02)
    error = values.std() / math.sqrt(60)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_interval_with_cells_that_are_missing() -> None:
    """Videos drawn and seeds drawn, by loops, where one fold has one seed less."""
    rng = np.random.default_rng(1)
    cells = {(f"v{i:02}", s): int(rng.integers(-1, 2)) for i in range(24) for s in (3, 5, 8) if i < 12 or s != 5}
    means = []
    for _ in range(4000):
        rows, seeds = rng.integers(0, 24, 24), rng.choice([3, 5, 8], 3)
        drawn = [cells[key] for i in rows for s in seeds if (key := (f"v{i:02}", int(s))) in cells]
        means += [sum(drawn) / len(drawn)] if drawn else []
    assert significance.interval(cells) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.03)


def test_interval_takes_in_the_seeds() -> None:
    """All videos go up with one seed and down with the other: the videos agree, the seeds do not."""
    low, high = significance.interval({(f"v{i}", seed): 1 - 2 * seed for i in range(50) for seed in (0, 1)})
    assert (low, high) == (-1, 1)


def test_videos_of_a_group_are_flipped_together() -> None:
    """12 videos of 4 groups, all better by one: 2 of 2**4 patterns instead of 2 of 2**12 are as far from 0."""
    reference = np.zeros((2, 5, 6), dtype=int)
    groups = {f"v{f}-{v}": f"{f}{v // 3}" for f in range(2) for v in range(6)}
    every = {"a": outcomes(reference), "b": outcomes(1 - reference)}
    alone, grouped = significance.compare(every, "a", 1)["b"], significance.compare(every, "a", 1, groups)["b"]
    assert (alone.videos, alone.groups, alone.p_videos) == (12, 12, 2.0**-11)
    assert (grouped.videos, grouped.groups, grouped.p_videos) == (12, 4, 2.0**-3)
    assert grouped.p_smallest == 2.0**-3
    assert grouped.p_runs == alone.p_runs == 2.0**-9


def test_interval_of_groups_is_wider_if_their_videos_agree() -> None:
    """Every group has 4 equal videos: the interval is that of one video for each group."""
    rng = np.random.default_rng(5)
    values = {group: int(rng.integers(-1, 2)) for group in range(40)}
    cells = {(f"{group}-{i}", seed): value for group, value in values.items() for i in range(4) for seed in (0, 1)}
    groups = {video: video.partition("-")[0] for video, _ in cells}
    one = significance.interval({(str(group), seed): value for group, value in values.items() for seed in (0, 1)})
    assert significance.interval(cells, groups) == pytest.approx(one, abs=0.02)
    assert np.ptp(significance.interval(cells, groups)) > 1.7 * np.ptp(significance.interval(cells))
