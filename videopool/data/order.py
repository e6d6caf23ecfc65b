"""Pure functions that choose the videos of an epoch and their order.

The result depends only on (seed, epoch). So a run can resume at any step, and several processes together see what a
single one would. ::

    order of an epoch       5 0 3 4 1 2 7 6           drawn by ``uniform_order`` or another ``Order``
    1 process, batch 4      5 0 3 4|1 2 7 6
    2 processes, rank 0     5 0 . .|1 2 . .           the same steps, divided
                rank 1      . . 3 4|. . 7 6
    2 clips of a video      5 5 0 0|3 3 4 4|...       twice as many steps

The last videos are left out if they do not fill a batch. If a video repeats within an epoch, its index increases: index
``i`` is video ``i % V``, for the ``i // V``-th time, and has its own random numbers.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from videopool.data.number_files import read_numbers
from videopool.errors import InputError
from videopool.ranges import POSITIVE

# Seeds of separate random streams, different from those of the clips.
_UNIFORM_STREAM, _ROUND_STREAM, _CLASS_STREAM, _WEIGHTED_STREAM = 0x0DE2, 0x0DE3, 0x0DE4, 0x0DE5


class Order(Protocol):
    """A function that returns the ``draws`` videos of an epoch in their order: int64 [draws]."""

    def __call__(self, *, draws: int, seed: int, epoch: int) -> np.ndarray: ...


def uniform_order(*, videos: int, draws: int, seed: int, epoch: int) -> np.ndarray:
    """Return every video once, in random order, before any repeats: int64 [draws], a permutation repeated as needed."""
    permutation = np.random.default_rng((_UNIFORM_STREAM, seed, epoch)).permutation(videos)
    return np.resize(permutation, draws)


def balanced_order(*, labels: np.ndarray, draws: int, seed: int, epoch: int) -> np.ndarray:
    """Return every class equally often, up to one draw, however many videos it has. ::

        videos      A0 A1 A2 A3 A4 A5   B0 B1   C0
        round       B1 A4 C0 | A2 C0 B0 | A0 B0 C0 | C0 B1 A3 | ...

    An epoch consists of rounds; a round draws every class once, in random order. The videos of a class are drawn in
    random order, all of them before one repeats, and the next epoch continues where this one stopped, so that all
    videos of a large class are used. (If the last round of an epoch is cut off before a class, that class skips one
    video.)

    Args:
        labels: int [V], the class of each video; classes without a video are ignored.
        draws, seed, epoch: see ``Order``.
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
    """Return every video in proportion to its weight, as evenly as whole numbers allow, in random order. ::

        weight             1    1       2    .5 .5  1      draws=6: a weight of 1, the mean, is one draw
        expected draws   |----|----|---------|-|--|----|
        drawn               ^    ^    ^    ^    ^    ^     evenly spaced from a random start: 1 1 2 0 1 1 times

    A video with x expected draws is drawn floor(x) or floor(x) + 1 times, x times on average; one with a weight below
    the mean is never drawn twice. (Systematic sampling, Madow, "On the theory of systematic sampling, II", 1949, with
    the videos in a new random order in each epoch.)

    Args:
        weights: float [V], above 0; only their ratios matter.
        draws, seed, epoch: see ``Order``.
    """
    rng = np.random.default_rng((_WEIGHTED_STREAM, seed, epoch))
    line = rng.permutation(len(weights))
    reached = np.cumsum(weights[line])
    marks = np.floor(reached / reached[-1] * draws + rng.random())
    counts = np.diff(np.minimum(marks, draws), prepend=0).astype(np.int64)  # rounding may pass the last mark
    return rng.permutation(np.repeat(line, counts))


def epoch_clips(
    *, videos: int, clips: int, seed: int, epoch: int, order: Order | None = None, clips_per_video: int = 1
) -> np.ndarray:
    """Return the indices of an epoch in their order, those of the first step first: int64 [clips].

    Args:
        videos: V.
        clips: of the epoch, a multiple of ``clips_per_video``.
        seed, epoch: see the drawing at the top of this module.
        order: draws the videos of the epoch; None is ``uniform_order``.
        clips_per_video: consecutive clips of a video (Hoffer et al., "Augment your batch", CVPR 2020).
    """
    draw = order or functools.partial(uniform_order, videos=videos)
    drawn = draw(draws=clips // clips_per_video, seed=seed, epoch=epoch)
    return _counted(np.repeat(drawn, clips_per_video), videos)


def choose_order(
    sampler: Literal["uniform", "balanced", "weighted"], *, labels: np.ndarray, weights: Path, several_labels: bool
) -> Order:
    """Return the order that ``sampler`` names, for videos with these ``labels`` int [V].

    Args:
        sampler: the name.
        labels: int [V], the class of each video.
        weights: file of the weights, used by ``weighted`` only.
        several_labels: whether a video may have several classes, which ``balanced`` does not support.

    Raises:
        InputError: if the weights cannot be used, or ``balanced`` is asked for with ``several_labels``.
    """
    if sampler == "weighted":
        return functools.partial(weighted_order, weights=read_video_weights(weights, len(labels)))
    if sampler == "uniform":
        return functools.partial(uniform_order, videos=len(labels))
    if several_labels:
        raise InputError(
            "sampler=balanced draws each class equally often, but the videos have several classes each. Use uniform or "
            "weighted.",
            setting="sampler",
        )
    return functools.partial(balanced_order, labels=labels)


def read_video_weights(path: Path, videos: int) -> np.ndarray:
    """Read the weights of the V videos of a list, one number per line in the order of the list: float64 [V].

    Raises:
        InputError: if the file cannot be read, has another number of lines, or a line is not a number above 0.
    """
    return np.array(
        read_numbers(
            path,
            count=videos,
            items="videos",
            allowed=POSITIVE,
            setting="weights",
            form="Give a text file with one number per line.",
            counting="Write one weight per video.",
            value="To exclude a video, remove it from the list.",
        )
    )


def _walk(members: int, first: int, count: int, key: tuple[int, ...]) -> np.ndarray:
    """Return elements ``first`` to ``first + count`` of an endless sequence of permutations of ``members``.

    It is generated in laps of as many permutations as contain ``count`` members, so two laps are enough.
    """
    rounds = -(-count // members)
    lap, begin = divmod(first, rounds * members)
    laps = [_permutations(members, rounds, (*key, number)).ravel() for number in (lap, lap + 1)]
    return np.concatenate(laps)[begin : begin + count]


def _permutations(members: int, rounds: int, key: tuple[int, ...]) -> np.ndarray:
    """Return random permutations of ``range(members)``: int64 [rounds, members]."""
    return np.random.default_rng(key).random((rounds, members)).argsort(axis=1, kind="stable")


def _counted(drawn: np.ndarray, videos: int) -> np.ndarray:
    """Return the videos ``drawn`` as indices: V is added for each earlier draw of the same video."""
    by_video = np.argsort(drawn, kind="stable")
    ordered = drawn[by_video]
    begins = np.flatnonzero(np.diff(ordered, prepend=-1))
    times = np.arange(len(drawn)) - np.repeat(begins, np.diff(begins, append=len(drawn)))
    indices = np.empty_like(drawn)
    indices[by_video] = ordered + videos * times
    return indices
