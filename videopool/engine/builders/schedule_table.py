"""What each epoch of a training does, as a table."""

from __future__ import annotations

import itertools

from videopool.config import Config
from videopool.engine.builders.batches import learning_rate, split_of, with_batch
from videopool.engine.builders.multigrid import multigrid_of
from videopool.engine.builders.optimization import schedule_of
from videopool.engine.builders.parts import clip_sampling
from videopool.engine.optimization.multigrid import Multigrid, Phase, Shape

_TITLES = ("epochs", "clips x frames x crop of a step", "clips of a batch norm", "learning rate")


def describe_schedule(config: Config) -> str:
    """Return a table of the epochs of ``config`` on one process: the steps and the learning rates.

    The steps of a row take turns. A row ends where the shapes or the learning-rate stage change.

    Raises:
        InputError: for settings that do not fit.
    """
    config = with_batch(config, 1)
    plan = multigrid_of(config) or Multigrid((Phase(0, config.train.epochs, (Shape(),)),), config.optim.milestones)
    rows = [_TITLES, *(_row(config, plan, phase) for phase in _pieces(config, plan))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _pieces(config: Config, plan: Multigrid) -> list[Phase]:
    """Return the phases, divided where the learning rate drops and where the warm-up ends."""
    drops = plan.milestones if config.optim.schedule == "multistep" else ()
    cuts = {float(drop) for drop in drops} | {config.optim.warmup_epochs}
    pieces = []
    for phase in plan.phases:
        inside = sorted(int(cut) for cut in cuts if phase.first < int(cut) < phase.end)
        bounds = [phase.first, *inside, phase.end]
        pieces += [Phase(first, end, phase.cycle) for first, end in itertools.pairwise(bounds)]
    return pieces


def _row(config: Config, plan: Multigrid, phase: Phase) -> tuple[str, str, str, str]:
    split, sampling = split_of(config, 1), clip_sampling(config)
    lr, schedule = learning_rate(config), schedule_of(config)
    clips, groups = [], []
    for shape in phase.cycle:
        smaller = sampling.smaller(frames=shape.frames, area=shape.area)
        clips.append(f"{split.batch * shape.times}x{smaller.frames}x{smaller.crop}")
        groups.append(str(split.group * shape.times // phase.shape.times))
    # The epochs of a row, from its start to just before its end.
    rates = [f"{lr * schedule(epoch / plan.epochs):.4g}" for epoch in (phase.first, phase.end - 1e-3)]
    return (
        f"{phase.first}-{phase.end}",
        ", ".join(clips),
        ", ".join(groups),
        rates[0] if rates[0] == rates[1] else " to ".join(rates),
    )
