"""Averages of the weights of a network over its training: exponential (EMA) or equal (SWA).

Both move the average W' towards the newest weights W with a rate r: ``W' += r * (W - W')``. The first update copies W.
``torch.optim.swa_utils.AveragedModel`` keeps the average in a second network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from videopool.engine.cluster.sharding import own_part


@dataclasses.dataclass(frozen=True)
class Averaging:
    """How weights are averaged.

    Attributes:
        rate: weight of the newest network, given the number n of updates before, n >= 1.
        due: whether the average is updated after a step, counted from 1.
        buffers: whether buffers of floating-point numbers are averaged as the weights are. Other buffers are copied.
        counts_skipped: whether a step that does not change the weights updates the average, with the weights before it.
    """

    rate: Callable[[int], float]
    due: Callable[[int], bool]
    buffers: bool
    counts_skipped: bool


def moving_average(decay: float, *, warmup: bool = True) -> Averaging:
    """Return an exponential moving average, updated after every step: ``W' = d * W' + (1 - d) * W``.

    The running statistics of batch normalization are averaged, too: those of the newest network describe its newest
    weights, not the average of the last ``1 / (1 - decay)`` steps.

    Args:
        decay: d, from 0 to below 1.
        warmup: use ``min(decay, (1 + n) / (10 + n))`` after n updates instead, so that the first weights do not
            dominate a short training (``tf.train.ExponentialMovingAverage``).
    """

    def rate(updates: int) -> float:
        return 1 - (min(decay, (1 + updates) / (10 + updates)) if warmup else decay)

    return Averaging(rate, due=lambda step: True, buffers=True, counts_skipped=False)


def equal_average(steps: Collection[int]) -> Averaging:
    """Return the mean of the weights after each of ``steps``, counted from 1.

    Stochastic weight averaging (Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, "Averaging Weights Leads to Wider
    Optima and Better Generalization", UAI 2018, algorithm 1). Buffers are those of the newest network, so the
    statistics of batch normalization must be computed for the averaged weights (``engine.step.precise_norm``).
    """
    due = frozenset(steps).__contains__
    return Averaging(lambda updates: 1 / (updates + 1), due=due, buffers=False, counts_skipped=True)


class WeightAverage:
    """The average of the weights of ``model``.

    Attributes:
        network: a copy of ``model`` with the averaged weights, in evaluation mode. If ``model`` is sharded later, this
            must be sharded, too (``engine.cluster.sharding``).
    """

    def __init__(self, model: nn.Module, averaging: Averaging) -> None:
        self._model, self._averaging = model, averaging
        self._average = AveragedModel(model, multi_avg_fn=self._move, use_buffers=averaging.buffers)
        self._used = torch.ones(())
        self.network: nn.Module = self._average.module.eval().requires_grad_(False)

    @property
    def updates(self) -> int:
        """Number of updates. Before the first one, there is no average."""
        return int(self._average.n_averaged)  # in host memory

    def update(self, step: int, broken: torch.Tensor) -> None:
        """Update the average after ``step`` (from 1), if it is due.

        Args:
            step: training steps done.
            broken: [], on the device of the model; 1 if the step did not change the weights, else 0. The host does not
                wait for it.
        """
        if self._averaging.due(step):
            self._used = torch.ones_like(broken) if self._averaging.counts_skipped else 1 - broken
            self._average.update_parameters(self._model)

    def state(self) -> dict[str, Any]:
        """Return the entries of a checkpoint: ``averaged``, a state dict, and ``averages``; none before an update."""
        return {"averaged": self.network.state_dict(), "averages": self.updates} if self.updates else {}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the entries of ``state``."""
        if "averaged" in state:
            self.network.load_state_dict(state["averaged"])
        self._average.n_averaged.fill_(state.get("averages", 0))

    def _move(self, averages: Any, newest: Any, count: torch.Tensor | int) -> None:
        """Move ``averages`` towards ``newest``: lists of tensors of one device and type. ``AveragedModel`` calls it."""
        if not (averages[0].is_floating_point() or averages[0].is_complex()):
            torch._foreach_copy_(averages, newest)
            return
        averages, newest = list(map(own_part, averages)), list(map(own_part, newest))
        rate = (self._averaging.rate(self.updates) * self._used.double()).to(averages[0].dtype)
        changes = torch._foreach_sub(newest, averages)
        torch._foreach_mul_(changes, rate)
        torch._foreach_add_(averages, changes)
