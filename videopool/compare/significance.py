"""Is a method different from the reference? Paired, exact tests, a correction for many methods, an interval.

A comparison has two sources of chance: another seed trains another network, and other videos would give another
accuracy. Each has a test, and a method differs only if both tests find a difference:

* **runs**: the difference in the number of correct videos of each (fold, seed), a pair of runs that share data,
  order and initial weights. If the method made no difference, each of these could equally have the opposite sign.
* **videos**: the difference in how often each video was correct, over all seeds. With one seed this is McNemar's exact
  test. It does not assume that the seeds of one video are independent. If the videos have groups (people, scenes), the
  difference is that of a whole group, so the test does not assume that its videos are independent either.

Both are sign-flip permutation tests (Fisher 1935), two-sided, and exact: all sign patterns are counted, by convolution.
The larger of the two p-values tests whether either source alone explains the difference (intersection-union test,
Berger 1982). It is corrected for the number of methods (Holm 1979). Methods that are planned but have no result yet
count in the correction, so an early look at an unfinished comparison is not an easier test.

Both tests assume independent units, which is not quite true: runs of one seed share initial weights, and runs of two
folds share most of their training videos.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.05

Outcomes = Mapping[tuple[int, int], Mapping[str, int]]  # (fold, seed): video: 1 correct, 0 wrong


@dataclasses.dataclass(frozen=True)
class Difference:
    """A method minus the reference, over the runs and videos that both have.

    Attributes:
        mean, low, high: the mean difference and its 95 % interval, as fractions.
        pairs: the number of pairs of runs.
        videos: the number of videos tested in them.
        p_runs, p_videos: the p-values of the two tests.
        p_holm: ``p``, corrected for all methods.
        p_smallest: the smallest ``p_holm`` possible with this number of pairs, groups and methods.
        groups: the number of groups of these videos; of videos, if they have no groups.
    """

    mean: float
    low: float
    high: float
    pairs: int
    videos: int
    p_runs: float
    p_videos: float
    p_holm: float = float("nan")
    p_smallest: float = float("nan")
    groups: int = 0

    @property
    def p(self) -> float:
        """The p-value for the hypothesis that one of the two sources of chance explains the difference."""
        return max(self.p_runs, self.p_videos)


def compare(
    outcomes: Mapping[str, Outcomes], reference: str, planned: int, groups: Mapping[str, str] | None = None
) -> dict[str, Difference]:
    """Return the difference of every method of ``outcomes`` to ``reference``, except methods that share no run with it.

    Args:
        outcomes: of each method.
        reference: one of the methods.
        planned: how many methods will be compared with the reference in the end.
        groups: the group of each video; videos without one are groups of their own.
    """
    found = {
        name: difference(mine, outcomes[reference], groups)
        for name, mine in outcomes.items()
        if name != reference and _shared(mine, outcomes[reference])
    }
    tests = max(planned, len(found))
    corrected = holm([*(one.p for one in found.values()), *[1.0] * (tests - len(found))])
    return {
        name: dataclasses.replace(one, p_holm=p, p_smallest=min(1.0, tests * smallest_p(min(one.pairs, one.groups))))
        for (name, one), p in zip(found.items(), corrected, strict=False)
    }


def difference(mine: Outcomes, others: Outcomes, groups: Mapping[str, str] | None = None) -> Difference:
    """Return ``mine`` minus ``others``, before the correction for several methods."""
    groups = groups or {}
    pairs = _shared(mine, others)
    by_run: Counter[tuple[int, int]] = Counter()
    by_group: Counter[str] = Counter()
    cells: dict[tuple[str, int], int] = {}
    for fold, seed in pairs:
        first, second = mine[fold, seed], others[fold, seed]
        for video in first.keys() & second.keys():
            cell = first[video] - second[video]
            by_run[fold, seed] += cell
            by_group[groups.get(video, video)] += cell
            cells[video, seed] = cell
    low, high = interval(cells, groups)
    mean = sum(cells.values()) / len(cells)
    p_runs, p_videos = sign_flip([by_run[pair] for pair in pairs]), sign_flip(list(by_group.values()))
    videos = len({video for video, _ in cells})
    return Difference(mean, low, high, len(pairs), videos, p_runs, p_videos, groups=len(by_group))


def sign_flip(differences: Sequence[int]) -> float:
    """Return the two-sided p-value of the sum of whole ``differences`` if each has either sign with probability 1/2."""
    sizes = [abs(value) for value in differences if value]
    observed, largest = abs(sum(differences)), sum(sizes)
    chances = np.ones(
        1
    )  # of the sums -largest, -largest + 2, ..., largest; without subtraction, so the tails are exact too
    for size in sizes:
        grown = np.zeros(len(chances) + size)
        grown[: len(chances)] += chances
        grown[size:] += chances
        chances = grown / 2
    sums = np.arange(-largest, largest + 1, 2)
    return max(float(chances[abs(sums) >= observed].sum()), sys.float_info.min)


def smallest_p(pairs: int) -> float:
    """Return the p-value that ``sign_flip`` gives for this many differences if all have the same sign."""
    return 2.0 ** (1 - pairs) if pairs else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down method, which limits the probability of any false finding."""
    corrected = [0.0] * len(values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        running = max(running, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = running
    return corrected


def interval(
    cells: Mapping[tuple[str, int], int], groups: Mapping[str, str] | None = None, level: float = 1 - LEVEL
) -> tuple[float, float]:
    """Return the bootstrap percentile interval of the mean of ``cells`` (video, seed).

    Groups of videos and seeds are drawn with replacement, independently (Owen 2007), so the interval includes the
    variation of both; with two or three seeds it is rough. The same cells give the same interval.
    """
    groups = groups or {}
    seeds = sorted({seed for _, seed in cells})
    rows = {groups.get(video, video): [(0, 0)] * len(seeds) for video, _ in cells}  # of a group: (sum, videos)
    for (video, seed), value in cells.items():
        row, column = rows[groups.get(video, video)], seeds.index(seed)
        row[column] = (row[column][0] + value, row[column][1] + 1)
    kinds = Counter(map(tuple, rows.values()))  # drawing groups equals drawing kinds of rows
    values, known = np.moveaxis(np.array(sorted(kinds), dtype=np.float64), 2, 0)
    generator = np.random.default_rng(0)
    shares = [kinds[kind] / len(rows) for kind in sorted(kinds)]
    drawn = generator.multinomial(len(rows), shares, RESAMPLES)
    columns = generator.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), RESAMPLES)
    count = ((drawn @ known) * columns).sum(1)
    means = ((drawn @ values) * columns).sum(1)[count > 0] / count[count > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _shared(mine: Outcomes, others: Outcomes) -> list[tuple[int, int]]:
    """Return the runs that both have, with a video that both have scored."""
    return sorted(run for run in set(mine) & set(others) if mine[run].keys() & others[run].keys())
