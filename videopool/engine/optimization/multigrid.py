"""The schedule of multigrid training: the batches and clip shapes of each epoch.

Small clips are cheap, so a step has more of them for the same arithmetic. The full shape is a batch of B clips of T
frames of H x H pixels. A step of ``Shape(frames, area)`` has ``frames * area * B`` clips of ``T / frames`` frames and
crops with a side of ``H / sqrt(area)`` pixels. ::

    long cycle     8B x T/4 x H/√2    4B x T/2 x H/√2    2B x T/2 x H    B x T x H      a phase of epochs each
    short cycle    H/2, H/√2, H       the frames and the largest crop are those of the phase; changes in every step

A long cycle runs in each stage of a step-wise learning-rate schedule but the last one, with equally many steps of every
shape. The last stage has the full shape; its learning rate drops in the middle. The learning rate is proportional to
the batch of the phase; the short cycle does not change it. The groups of clips that share batch-norm statistics have
the base size in the last step of a short cycle, and grow with the batch in the others.

Wu, Girshick, He, Feichtenhofer, Krähenbühl, "A Multigrid Method for Efficiently Training Video Models", CVPR 2020,
section 3. Lengths of phases, strides and batch-norm groups are those of its published code (PySlowFast).
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal

from videopool.data.steps import Stage, StepSize
from videopool.errors import InputError

Cycles = Literal["short", "long", "both"]
EPOCHS = 1.5  # of multigrid training for one of the baseline, in the paper

_ROUNDING = 1e-6  # of progress; a step this close before a phase belongs to it


@dataclasses.dataclass(frozen=True)
class Shape:
    """The shape of clips: 1 / ``frames`` of the frames, 1 / ``area`` of the pixels of a frame."""

    frames: int = 1
    area: int = 1

    @property
    def times(self) -> int:
        """Clips for the arithmetic of one clip of full shape."""
        return self.frames * self.area


LONG_CYCLE = (Shape(4, 2), Shape(2, 2), Shape(2, 1), Shape(1, 1))
SHORT_CYCLE = (4, 2)  # areas; the last shape of a short cycle is that of the phase


@dataclasses.dataclass(frozen=True)
class Phase:
    """Epochs ``first`` to ``end`` (not included), in which the shapes of ``cycle`` take turns, step by step."""

    first: int
    end: int
    cycle: tuple[Shape, ...]

    @property
    def shape(self) -> Shape:
        """The largest shape, which sets the learning rate and the batch-norm groups."""
        return self.cycle[-1]


@dataclasses.dataclass(frozen=True)
class Multigrid:
    """The schedule of a training.

    Attributes:
        phases: in their order.
        milestones: the epochs at which a step-wise schedule multiplies the learning rate by gamma.
    """

    phases: tuple[Phase, ...]
    milestones: tuple[float, ...]

    @property
    def epochs(self) -> int:
        """The length of the training."""
        return self.phases[-1].end

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """All shapes; the full one is number 0."""
        found = {shape for phase in self.phases for shape in phase.cycle} - {Shape()}
        return (Shape(), *sorted(found, key=lambda shape: (shape.frames, shape.area)))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The sizes of all steps."""
        return tuple(Stage(phase.end - phase.first, self._sizes(phase)) for phase in self.phases)

    def _sizes(self, phase: Phase) -> tuple[StepSize, ...]:
        base, shapes = phase.shape.times, self.shapes
        return tuple(StepSize(shape.times, shape.times // base, shapes.index(shape)) for shape in phase.cycle)

    @property
    def sizes(self) -> tuple[StepSize, ...]:
        """The sizes that steps have."""
        return tuple({size: None for stage in self.stages for size in stage.cycle})

    def rate(self, progress: float) -> float:
        """Return the factor of the learning rate at ``progress``, the part of the epochs that is done."""
        epoch = int((progress + _ROUNDING) * self.epochs)
        number = bisect.bisect_right([phase.first for phase in self.phases], epoch) - 1
        return self.phases[number].shape.times


def plan_multigrid(
    cycles: Cycles, *, epochs: int, milestones: Sequence[float], epoch_factor: float = EPOCHS
) -> Multigrid:
    """Return the schedule that replaces a training of fixed shape.

    Args:
        cycles: which of them.
        epochs: of the training that is replaced, the baseline.
        milestones: its epochs at which the learning rate drops; the long cycle needs one.
        epoch_factor: epochs of the multigrid training for one of the baseline.

    Raises:
        InputError: for milestones that do not fit, or if a phase has no epoch, except for those of the full shape
            before the last one, which are left out.
    """
    if milestones and milestones[-1] >= epochs:
        raise InputError(f"milestones={list(milestones)} must be smaller than epochs={epochs}", setting="milestones")
    if cycles != "short" and not milestones:
        raise InputError("milestones=[] must have at least one epoch for the long cycle", setting="milestones")
    if cycles == "short":
        phases: tuple[Phase, ...] = (Phase(0, int(epochs * epoch_factor), _cycle(Shape(), short=True)),)
        drops = [int(milestone * epoch_factor) for milestone in milestones]
    else:
        phases = _phases((*milestones, epochs), epochs * epoch_factor, short=cycles == "both")
        ends = [phase.end for phase in phases[len(LONG_CYCLE) - 1 : -2 : len(LONG_CYCLE)]]  # of stages
        drops = [*ends, (phases[-1].first + phases[-1].end) // 2]
    # A phase of the full shape, the shortest of a long cycle, may have no epoch, because the last stage has this shape.
    kept = [phase for phase in phases if phase.first < phase.end or phase.shape != Shape() or phase is phases[-1]]
    if any(phase.first == phase.end for phase in kept):
        raise InputError(
            f"epochs={epochs} is too short for the {len(phases)} phases of multigrid training with "
            f"milestones={list(milestones)}. Use more epochs, fewer milestones, or only the short cycle.",
            setting="epochs",
        )
    return Multigrid(tuple(kept), tuple(drops))


def _phases(ends: Sequence[float], epochs: float, *, short: bool) -> tuple[Phase, ...]:
    """Return the phases of the long cycle, in ``epochs`` epochs, for stages of the baseline that end at ``ends``."""
    *stages, last = (later - earlier for earlier, later in itertools.pairwise((0, *ends)))
    parts = [part for stage in stages for part in _long_cycle(stage, short=short)]
    full, length = _long_cycle(last, short=short)[-1]
    parts.append((full, length * len(LONG_CYCLE)))  # as many steps as a long cycle
    scale = epochs / sum(length for _, length in parts)
    bounds = [0, *(round(end * scale) for end in itertools.accumulate(length for _, length in parts))]
    pairs = zip(parts, itertools.pairwise(bounds), strict=True)
    return tuple(Phase(first, end, _cycle(shape, short=short)) for (shape, _), (first, end) in pairs)


def _cycle(shape: Shape, *, short: bool) -> tuple[Shape, ...]:
    """Return the shapes of a phase; none has more pixels than ``shape``, the last one."""
    return (*(Shape(shape.frames, max(area, shape.area)) for area in SHORT_CYCLE if short), shape)


def _long_cycle(epochs: float, *, short: bool) -> list[tuple[Shape, float]]:
    """Return the shapes of a long cycle and how many of ``epochs`` each has, so that all have equally many steps."""
    cycles = [_cycle(shape, short=short) for shape in LONG_CYCLE]
    clips = [sum(shape.times for shape in cycle) / len(cycle) for cycle in cycles]  # of a mean step
    return [(cycle[-1], epochs * mean / sum(clips)) for cycle, mean in zip(cycles, clips, strict=True)]
