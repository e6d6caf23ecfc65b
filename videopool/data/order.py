"""Which videos an epoch goes through, in which order, and which of them are a process's: pure functions.

Nothing but (seed, epoch, step, rank, number of processes) decides, so a run can go on from any step, and the processes
share what one alone would see. ::

    order of an epoch       5 0 3 4 1 2 7 6           drawn by ``uniform_order`` or another ``Order``
    batches of 2, alone     5 0|3 4|1 2|7 6
    2 processes, rank 0     5 0|. .|1 2|. .           a step takes a global batch: 5 0 and 3 4, then 1 2 and 7 6
                rank 1      . .|3 4|. .|7 6
    2 clips of a video      5 5|0 0|3 3|4 4|...       batches of 2: twice as many steps

The last videos that do not fill a global batch are left out, so all processes have the same number of steps and none
waits for another. An index counts on where a video comes again: index ``i`` is video ``i % V``, the
``i // V``-th time in this epoch, and has random numbers of its own.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from videopool.errors import InputError

# What keeps the numbers of the order apart from those of its clips, and those of one kind of order from another's.
_UNIFORM_STREAM, _ROUND_STREAM, _CLASS_STREAM, _WEIGHTED_STREAM = 0x0DE2, 0x0DE3, 0x0DE4, 0x0DE5


class Order(Protocol):
    """How the videos of an epoch are chosen: int64 [draws], the ``draws`` videos of the epoch, in order."""

    def __call__(self, *, draws: int, seed: int, epoch: int) -> np.ndarray: ...


def uniform_order(*, videos: int, draws: int, seed: int, epoch: int) -> np.ndarray:
    """Every video once, in a random order, before any comes again: int64 [draws], a permutation as often as needed."""
    permutation = np.random.default_rng((_UNIFORM_STREAM, seed, epoch)).permutation(videos)
    return np.resize(permutation, draws)


def balanced_order(*, labels: np.ndarray, draws: int, seed: int, epoch: int) -> np.ndarray:
    """Every class equally often, whatever the number of its videos: the counts of two classes differ by one at most. ::

        videos      A0 A1 A2 A3 A4 A5   B0 B1   C0
        round       B1 A4 C0 | A2 C0 B0 | A0 B0 C0 | C0 B1 A3 | ...

    An epoch is made of rounds; in a round every class comes once, in a random order. A class gives its videos in a
    random order, all of them before one comes again, and goes on in the next epoch where it stopped: also the videos of
    a large class all have their turn. (A class that the epoch's last round, cut short, did not reach passes over one.)

    Args:
        labels: int [V], the class of each video; classes without a video do not count.
        draws, seed, epoch: as in ``Order``.
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    rounds = -(-draws // len(members))
    turns = _permutations(len(members), rounds, (_ROUND_STREAM, seed, epoch))
    given = np.stack(
        [
            videos[_walk(len(videos), epoch * rounds, rounds, (_CLASS_STREAM, seed, number))]
            for number, videos in enumerate(members)
        ],
        axis=1,
    )
    return np.take_along_axis(given, turns, axis=1).ravel()[:draws]


def weighted_order(*, weights: np.ndarray, draws: int, seed: int, epoch: int) -> np.ndarray:
    """Every video as often as its weight says, as evenly as whole numbers allow, in a random order. ::

        weight             1    1       2    .5 .5  1      draws=6: a weight of 1, the mean, is one draw
        expected draws   |----|----|---------|-|--|----|
        drawn               ^    ^    ^    ^    ^    ^     evenly spaced from a random start: 1 1 2 0 1 1 times

    A video that is due x times in an epoch comes floor(x) or floor(x) + 1 times, x times on average: with a weight
    below the mean it never comes twice. (Systematic sampling, Madow, "On the theory of systematic sampling, II", 1949;
    the videos lie along the line in a new random order in each epoch.)

    Args:
        weights: float [V], above 0; only their ratios count.
        draws, seed, epoch: as in ``Order``.
    """
    rng = np.random.default_rng((_WEIGHTED_STREAM, seed, epoch))
    line = rng.permutation(len(weights))
    reached = np.cumsum(weights[line])
    marks = np.floor(reached / reached[-1] * draws + rng.random())
    counts = np.diff(np.minimum(marks, draws), prepend=0).astype(np.int64)  # rounding may pass the last mark
    return rng.permutation(np.repeat(line, counts))


def epoch_keys(
    *,
    videos: int,
    batch: int,
    seed: int,
    epoch: int,
    rank: int = 0,
    world: int = 1,
    order: Order | None = None,
    clips_per_video: int = 1,
) -> np.ndarray:
    """The indices that process ``rank`` of ``world`` takes in an epoch: int64 [steps, batch].

    Args:
        videos: V.
        batch: clips of a process in a step, a multiple of ``clips_per_video``.
        seed, epoch, rank, world: see the drawing of this module.
        order: how the epoch's videos are drawn; None is ``uniform_order``.
        clips_per_video: clips of a video, side by side in a batch (Hoffer et al., "Augment your batch", CVPR 2020).
    """
    steps = steps_per_epoch(videos=videos, batch=batch, world=world, clips_per_video=clips_per_video)
    draw = order or functools.partial(uniform_order, videos=videos)
    drawn = draw(draws=steps * batch * world // clips_per_video, seed=seed, epoch=epoch)
    clips = _counted(np.repeat(drawn, clips_per_video), videos)
    return clips.reshape(steps, world, batch)[:, rank]


def steps_per_epoch(*, videos: int, batch: int, world: int, clips_per_video: int = 1) -> int:
    """Steps of an epoch that takes ``clips_per_video`` clips of V videos; a data set smaller than a step fills one."""
    return max(1, videos * clips_per_video // (batch * world))


def choose_order(
    sampler: Literal["uniform", "balanced", "weighted"], *, labels: np.ndarray, weights: Path, several_labels: bool
) -> Order:
    """The order of ``train.sampler`` for videos of these ``labels`` int [V]; ``weights`` is the file of weighted ones.

    Raises:
        InputError: for weights that cannot be used, and for balanced classes where a video has ``several_labels``.
    """
    if sampler == "weighted":
        return functools.partial(weighted_order, weights=read_video_weights(weights, len(labels)))
    if sampler == "uniform":
        return functools.partial(uniform_order, videos=len(labels))
    if several_labels:
        raise InputError(
            "train.sampler=balanced takes each class equally often, but the videos have several classes each; "
            "give the videos weights with train.sampler=weighted, or set it to uniform"
        )
    return functools.partial(balanced_order, labels=labels)


def read_video_weights(path: Path, videos: int) -> np.ndarray:
    """The weights of the V videos of a list: a number a line, in the order of the list; float64 [V].

    Raises:
        InputError: for a file that cannot be read, another number of lines, and what is no number above 0.
    """
    try:
        lines = path.read_text(encoding="utf-8").rstrip().splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"train.weights: {path} cannot be read ({error}); give a text file of numbers") from None
    if len(lines) != videos:
        raise InputError(f"train.weights: {path} has {len(lines)} lines for {videos} videos; give each a number")
    weights = np.array([_weight(text) for text in lines])
    wrong = np.flatnonzero(~((weights > 0) & (weights < np.inf)))
    if len(wrong):
        raise InputError(
            f"train.weights: {path} line {wrong[0] + 1} is {lines[wrong[0]]!r}; expected a number above 0 "
            "(a video that is never to be drawn is taken out of the list)"
        )
    return weights


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _walk(members: int, first: int, count: int, key: tuple[int, ...]) -> np.ndarray:
    """Places ``first`` to ``first + count`` of an endless walk through ``members``, permutation behind permutation.

    It is made in laps of as many permutations as hold ``count`` members, so that two laps are all that it takes.
    """
    rounds = -(-count // members)
    lap, begin = divmod(first, rounds * members)
    laps = [_permutations(members, rounds, (*key, number)).ravel() for number in (lap, lap + 1)]
    return np.concatenate(laps)[begin : begin + count]


def _permutations(members: int, rounds: int, key: tuple[int, ...]) -> np.ndarray:
    """Random permutations of ``range(members)``: int64 [rounds, members]."""
    return np.random.default_rng(key).random((rounds, members)).argsort(axis=1, kind="stable")


def _counted(drawn: np.ndarray, videos: int) -> np.ndarray:
    """The videos ``drawn`` as indices: V is added for each time that a video came before."""
    by_video = np.argsort(drawn, kind="stable")
    ordered = drawn[by_video]
    begins = np.flatnonzero(np.diff(ordered, prepend=-1))
    times = np.arange(len(drawn)) - np.repeat(begins, np.diff(begins, append=len(drawn)))
    indices = np.empty_like(drawn)
    indices[by_video] = ordered + videos * times
    return indices
