"""How the clips of a training step are divided among processes, and into forward passes on each of them.

The clips of a step, their order, augmentation and learning rate depend on ``batch`` only. So a step is the same on any
number of processes: its gradient is the mean over all clips, whether they are computed at once or one after another.
"""

from __future__ import annotations

import dataclasses

from videopool.data.steps import StepSize
from videopool.errors import InputError
from videopool.types import Place


@dataclasses.dataclass(frozen=True)
class Split:
    """The division of a step.

    Attributes:
        batch: clips of a step, over all processes.
        processes: number of processes, which share them equally.
        passes: forward passes of each process in a step.
        group: clips that share batch-norm statistics and are mixed with each other; divides ``size``.
    """

    batch: int
    processes: int
    passes: int
    group: int

    @property
    def size(self) -> int:
        """Clips of a forward pass."""
        return self.batch // (self.processes * self.passes)

    def place(self, rank: int, number: int) -> Place:
        """Return which clips of the step are in forward pass ``number`` (from 0) of process ``rank``."""
        return Place((rank * self.passes + number) * self.size, self.size, self.batch, self.group)

    def times(self, size: StepSize) -> Split:
        """Return the division of a step of ``size`` into the same number of forward passes."""
        return dataclasses.replace(self, batch=self.batch * size.times, group=self.group * size.group)

    def __str__(self) -> str:
        each = f", {self.batch // self.processes} on each of {self.processes} processes" if self.processes > 1 else ""
        return f"{self.batch} clips a step{each}" + (f", in {self.passes} forward passes" if self.passes > 1 else "")


def split_batch(batch: int, *, processes: int, most: int = 0, group: int = 0) -> Split:
    """Return how ``processes`` share the ``batch`` clips of a step.

    Args:
        batch: clips of a step, over all processes.
        processes: how many there are.
        most: largest number of clips of a forward pass; 0: no limit. The forward passes of a step have equal sizes, and
            there are as few as ``most`` allows.
        group: clips that share batch-norm statistics, see ``Split``; 0: those of a forward pass.

    Raises:
        InputError: if ``processes`` or ``group`` do not divide the batch.
    """
    if batch % processes:
        lower, upper = batch // processes * processes, -(-batch // processes) * processes
        near = f"{lower} or {upper}" if lower else str(upper)
        message = f"batch={batch} cannot be shared equally by {processes} processes; use {near}"
        raise InputError(message, setting="batch")
    share = batch // processes
    if group and share % group:
        raise InputError(
            f"norm_batch={group} must divide the {share} clips of a process; use "
            f"{max(size for size in range(1, group) if share % size == 0)}",
            setting="norm_batch",
        )
    if group and most and group > most:
        raise InputError(
            f"norm_batch={group} is more than batch_per_device={most}; raise batch_per_device or lower norm_batch",
            setting="norm_batch",
        )
    unit = group or 1
    sizes = [size for size in range(unit, share + 1, unit) if share % size == 0 and size <= (most or share)]
    return Split(batch, processes, share // sizes[-1], group or sizes[-1])
