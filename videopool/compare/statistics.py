"""Is a method different from the reference? Paired, exact tests, a correction for many methods, an interval.

Two things blur a comparison: another seed trains other networks, and other videos would have been classified
otherwise. Each has its test, and a method differs only if both say so:

* **runs**: the difference in the number of correct videos of each (fold, seed), a pair of runs that share data,
  order and initial weights. If the method made no difference, each difference could as well have the other sign.
* **videos**: the difference in how often each video was right, over all seeds. With one seed this is McNemar's exact
  test. It does not assume that the seeds of one video are independent.

Both are sign-flip permutation tests (Fisher 1935), two-sided, and exact: all sign patterns are counted, by convolution.
The larger of the two p-values tests that either source alone explains the difference (intersection-union test, Berger
1982). Over the methods it is corrected by Holm (1979).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.05

Outcomes = Mapping[tuple[int, int], Mapping[str, int]]  # (fold, seed): video: 1 right, 0 wrong


@dataclasses.dataclass(frozen=True)
class Difference:
    """A method minus the reference, over the runs and videos that both have.

    ``mean`` and its 95 % interval ``low``..``high`` are fractions; ``pairs`` counts pairs of runs, ``p`` is the larger
    of ``p_runs`` and ``p_videos``, ``p_holm`` corrected for all methods, ``p_smallest`` the smallest ``p_holm`` that
    so many pairs and methods can give at all.
    """

    mean: float
    low: float
    high: float
    pairs: int
    p_runs: float
    p_videos: float
    p_holm: float = float("nan")
    p_smallest: float = float("nan")

    @property
    def p(self) -> float:
        """Of the hypothesis that one of the two sources of chance explains the difference."""
        return max(self.p_runs, self.p_videos)


def compare(outcomes: Mapping[str, Outcomes], reference: str) -> dict[str, Difference]:
    """Every method of ``outcomes`` against ``reference``; methods that share no run with it are left out."""
    found = {
        name: difference(mine, outcomes[reference])
        for name, mine in outcomes.items()
        if name != reference and set(mine) & set(outcomes[reference])
    }
    corrected = holm([one.p for one in found.values()])
    return {
        name: dataclasses.replace(one, p_holm=p, p_smallest=min(1.0, len(found) * smallest_p(one.pairs)))
        for (name, one), p in zip(found.items(), corrected, strict=True)
    }


def difference(mine: Outcomes, others: Outcomes) -> Difference:
    """``mine`` minus ``others``, before the correction for several methods."""
    pairs = sorted(set(mine) & set(others))
    by_run: Counter[tuple[int, int]] = Counter()
    by_video: Counter[str] = Counter()
    cells: dict[tuple[str, int], int] = {}
    for fold, seed in pairs:
        first, second = mine[fold, seed], others[fold, seed]
        for video in first.keys() & second.keys():
            cell = first[video] - second[video]
            by_run[fold, seed] += cell
            by_video[video] += cell
            cells[video, seed] = cell
    low, high = interval(cells)
    mean = sum(cells.values()) / len(cells)
    p_runs, p_videos = sign_flip([by_run[pair] for pair in pairs]), sign_flip(list(by_video.values()))
    return Difference(mean, low, high, len(pairs), p_runs, p_videos)


def sign_flip(differences: Sequence[int]) -> float:
    """Two-sided p of the sum of ``differences``, whole numbers, when each had either sign with probability 1/2."""
    sizes = [abs(value) for value in differences if value]
    observed = abs(sum(differences))
    ways = {0: 1}  # sum: number of sign patterns that give it
    for size in sizes:
        grown: Counter[int] = Counter()
        for total, count in ways.items():
            grown[total + size] += count
            grown[total - size] += count
        ways = grown
    return sum(count for total, count in ways.items() if abs(total) >= observed) / 2 ** len(sizes)


def smallest_p(pairs: int) -> float:
    """What ``sign_flip`` of so many differences gives when all have one sign."""
    return 2.0 ** (1 - pairs) if pairs else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected by Holm's step-down method: the chance of any false finding stays below the level."""
    corrected = [0.0] * len(values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        running = max(running, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = running
    return corrected


def interval(cells: Mapping[tuple[str, int], int], level: float = 1 - LEVEL) -> tuple[float, float]:
    """Bootstrap percentile interval of the mean of ``cells`` (video, seed), videos and seeds drawn again.

    Both are drawn with replacement, independently (Owen 2007), which takes in what changes with the videos and
    what changes with the training; with two or three seeds it is rough. The same cells give the same interval.
    """
    videos, seeds = sorted({video for video, _ in cells}), sorted({seed for _, seed in cells})
    values, known = np.zeros((len(videos), len(seeds))), np.zeros((len(videos), len(seeds)))
    places = {video: row for row, video in enumerate(videos)}, {seed: column for column, seed in enumerate(seeds)}
    for (video, seed), value in cells.items():
        values[places[0][video], places[1][seed]] = value
        known[places[0][video], places[1][seed]] = 1
    generator = np.random.default_rng(0)
    rows = generator.multinomial(len(videos), np.full(len(videos), 1 / len(videos)), RESAMPLES)
    columns = generator.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), RESAMPLES)
    count = ((rows @ known) * columns).sum(1)
    means = ((rows @ values) * columns).sum(1)[count > 0] / count[count > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
