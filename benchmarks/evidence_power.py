"""Compute the power of the comparisons of docs/evidence.md: how often they find a difference of a given size.

    python -m benchmarks.evidence_power

The results of two methods are simulated and tested as ``videopool compare`` tests them: a sign-flip test over pairs of
runs, one over groups of videos (over videos, without groups), and the larger p-value multiplied by the number of
methods that are compared with SoftPool, which is the hardest step of Holm's correction. The figures of the
simulation are assumptions, written down before the runs.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

import numpy as np

from videopool.compare.significance import LEVEL, sign_flip
from videopool.report.tables import markdown

EFFECTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)  # percent


@dataclasses.dataclass(frozen=True)
class Design:
    """The size of a comparison of two methods, and what is assumed of it.

    Attributes:
        folds, seeds: every fold is trained with every seed.
        groups: groups tested in a fold; 0: the videos are independent.
        videos: videos tested in a fold.
        comparisons: methods compared with SoftPool, for each of which there is a p-value.
        open: fraction of the videos that some runs classify correctly and others not.
        disagree: fraction of the open videos on which two runs disagree.
        video_sd, group_sd, run_sd: standard deviations of the difference of the methods for an open video, for
            a group, and for a run (initial weights and order of the data); fractions.
    """

    name: str
    folds: int
    seeds: int
    groups: int
    videos: int
    comparisons: int
    open: float = 0.3
    disagree: float = 0.5
    video_sd: float = 0.2
    group_sd: float = 0.02
    run_sd: float = 0.011


WORDS = Design("words", folds=4, seeds=4, groups=60, videos=1200, comparisons=2)
IMAGES = Design("images", folds=1, seeds=8, groups=0, videos=10_000, comparisons=2, run_sd=0.005)
DESIGNS = (
    WORDS,
    dataclasses.replace(WORDS, name="words, more methods", comparisons=5),
    IMAGES,
    dataclasses.replace(IMAGES, name="images, more methods", comparisons=5),
)


def simulate(design: Design, effect: float, rng: np.random.Generator) -> np.ndarray:
    """Return simulated differences int [seeds, folds, videos]: 1 if only the first method is correct, -1, or 0."""
    shape = (design.seeds, design.folds, design.videos)
    is_open = rng.random(shape[1:]) < design.open
    shift = rng.normal(0, design.video_sd, shape[1:]) + (effect / design.open)
    if design.groups:
        by_group = rng.normal(0, design.group_sd, (design.folds, design.groups)) / design.open
        shift += np.repeat(by_group, design.videos // design.groups, axis=1)
    shift = shift + rng.normal(0, design.run_sd, (*shape[:2], 1)) / design.open
    shift = np.clip(shift, -design.disagree, design.disagree)
    drawn = rng.random(shape)
    better, worse = (design.disagree + shift) / 2, (design.disagree - shift) / 2
    return np.where(is_open, np.where(drawn < better, 1, np.where(drawn > 1 - worse, -1, 0)), 0)


def p_value(design: Design, cells: np.ndarray) -> float:
    """Return the p-value that decides, multiplied by the number of comparisons."""
    by_run = cells.sum(2).ravel().tolist()
    by_video = cells.sum(0)
    units = by_video.reshape(design.folds, design.groups, -1).sum(2) if design.groups else by_video
    return design.comparisons * max(sign_flip(by_run), sign_flip(units.ravel().tolist()))


def power(design: Design, effect: float, repeats: int) -> tuple[float, float]:
    """Return how often ``effect`` (a fraction) is found, and the standard deviation of the measured difference."""
    rng = np.random.default_rng(0)
    drawn = [simulate(design, effect, rng) for _ in range(repeats)]
    found = [p_value(design, cells) < LEVEL for cells in drawn]
    return float(np.mean(found)), float(np.std([cells.mean() for cells in drawn]))


def table(designs: Sequence[Design], repeats: int) -> str:
    """Return the power of each design for each effect, as Markdown."""
    rows = []
    for design in designs:
        measured = {effect: power(design, effect / 100, repeats) for effect in EFFECTS}
        runs = design.folds * design.seeds
        row: dict[str, object] = {"comparison": design.name, "pairs of runs": runs}
        row["tested videos"] = design.folds * design.videos
        row["sd of a difference"] = f"{100 * measured[EFFECTS[0]][1]:.2f}"
        rows.append(row | {f"{effect:g} points": f"{100 * found:.0f} %" for effect, (found, _) in measured.items()})
    return markdown(rows, list(rows[0]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Compute the power of the comparisons of docs/evidence.md.")
    parser.add_argument("--repeats", type=int, default=200, help="simulations of each difference (default: 200)")
    print(table(DESIGNS, parser.parse_args().repeats))


if __name__ == "__main__":
    main()
