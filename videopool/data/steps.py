"""Which steps an epoch has, and how many clips of which shape are in each of them.

In most trainings, all steps have the same size. In multigrid training (``engine.optimization.multigrid``), stages of
several epochs have a cycle of sizes, which repeats within each epoch. ::

    epoch of 24 clips, batch 2, cycle (times=4, times=2, times=1)
    0 0 0 0 0 0 0 0|1 1 1 1|2 2|3 3 3 3 3 3 3 3|. .       4 steps; the last clips do not fill the next one
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class StepSize:
    """The size of a step, relative to the batch that all steps have without multigrid training.

    Attributes:
        times: clips of the step over that batch.
        group: clips that share batch-norm statistics, as a multiple in the same way; divides ``times``.
        shape: number of the shape of the clips, see ``TrainClips``; 0 is the full shape.
    """

    times: int = 1
    group: int = 1
    shape: int = 0


FULL = StepSize()


@dataclasses.dataclass(frozen=True)
class Stage:
    """Consecutive epochs whose steps have the sizes of ``cycle``, one after another, from the first in each epoch."""

    epochs: int
    cycle: tuple[StepSize, ...] = (FULL,)


class Steps:
    """All steps of a training, counted from 0.

    Args:
        clips: that an epoch has; those that do not fill a step are left out, but it has at least one step.
        batch: clips of a step of ``times=1``, over all processes.
        stages: in their order; epochs after the last stage continue it.
    """

    def __init__(self, *, clips: int, batch: int, stages: Sequence[Stage] = (Stage(1),)) -> None:
        self._batch = batch
        self._cycles = [stage.cycle for stage in stages]
        self._counts = [_count(clips, [batch * size.times for size in stage.cycle]) for stage in stages]
        lengths = [stage.epochs for stage in stages]
        self._first_epochs = list(itertools.accumulate(lengths, initial=0))[:-1]
        before = itertools.accumulate(map(int.__mul__, lengths, self._counts), initial=0)
        self._first_steps = list(before)[:-1]

    @property
    def uniform(self) -> bool:
        """Whether all epochs have the same number of steps."""
        return len(set(self._counts)) == 1

    def count(self, epoch: int) -> int:
        """Return the steps of ``epoch``."""
        return self._counts[self._stage_of_epoch(epoch)]

    def first(self, epoch: int) -> int:
        """Return the first step of ``epoch``; of the epoch after the last one, the number of all steps."""
        stage = self._stage_of_epoch(epoch)
        return self._first_steps[stage] + (epoch - self._first_epochs[stage]) * self._counts[stage]

    def position(self, step: int) -> tuple[int, int]:
        """Return the epoch of ``step``, and its number within it."""
        stage = bisect.bisect_right(self._first_steps, step) - 1
        epochs, inside = divmod(step - self._first_steps[stage], self._counts[stage])
        return self._first_epochs[stage] + epochs, inside

    def size(self, step: int) -> StepSize:
        """Return the size of ``step``."""
        epoch, inside = self.position(step)
        cycle = self._cycles[self._stage_of_epoch(epoch)]
        return cycle[inside % len(cycle)]

    def progress(self, step: int, epochs: int) -> float:
        """Return the part of ``epochs`` epochs that is done before ``step``, from 0 to below 1."""
        if self.uniform:
            return step / self.first(epochs)
        epoch, inside = self.position(step)
        return (epoch + inside / self.count(epoch)) / epochs

    def ends(self, epoch: int) -> np.ndarray:
        """Return how many clips of ``epoch`` are used up to the end of each of its steps: int64 [steps]."""
        times = [size.times for size in self._cycles[self._stage_of_epoch(epoch)]]
        return np.cumsum(np.resize(times, self.count(epoch))) * self._batch

    @property
    def most_clips(self) -> int:
        """The largest number of clips that the steps of an epoch use."""
        return max(int(self.ends(epoch)[-1]) for epoch in self._first_epochs)

    def _stage_of_epoch(self, epoch: int) -> int:
        return bisect.bisect_right(self._first_epochs, epoch) - 1


def _count(clips: int, batches: Sequence[int]) -> int:
    """Return how many steps, which have ``batches`` clips in turn, fit into ``clips``; at least 1."""
    cycles, left = divmod(clips, sum(batches))
    rest = sum(end <= left for end in itertools.accumulate(batches))
    return max(1, cycles * len(batches) + rest)
