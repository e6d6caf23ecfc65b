"""One training step: the gradient of the clips of all processes, and the update of the weights.

Shapes: clips [B,C,T,H,W] uint8, labels [B], logits [B,K], of a forward pass (see ``split``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterable
from typing import Protocol

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from videopool.data.steps import FULL, StepSize
from videopool.engine.cluster.distributed import World
from videopool.engine.cluster.sharding import is_sharded, local_gradients
from videopool.engine.optimization.loss import Loss, count_correct
from videopool.engine.optimization.optimizers import clip_gradients, guarded_step, set_learning_rate
from videopool.engine.optimization.schedule import Schedule
from videopool.engine.scoring.evaluation import Preprocess
from videopool.engine.step.averaging import WeightAverage
from videopool.engine.step.batch_statistics import (
    buffers_agree,
    collect_statistics,
    divide_statistics,
    explain_small_groups,
    update_running_statistics,
)
from videopool.engine.step.compilation import Compile, call_compiled, compile_module
from videopool.engine.step.distillation import Teacher
from videopool.engine.step.faulty_layers import avoid_faulty_bfloat16
from videopool.engine.step.objective import Objective
from videopool.engine.step.precision import Precision, loss_scaler
from videopool.engine.step.randomness import StepRandomness, step_seed
from videopool.engine.step.split import Split
from videopool.engine.watching.step_times import StepTimes
from videopool.types import Batch, Place

Augment = Callable[[Batch, int, Place], Batch]  # a batch on its device, the seed of the step, the place of the batch


@dataclasses.dataclass(frozen=True)
class Update:
    """What one step does.

    Attributes:
        split: how the clips of a step are divided, if it has the size ``FULL``.
        augment: changes a batch on its device, given the seed of the step and the place of the batch in it.
        preprocess: turns uint8 clips into the input of the network.
        lr, schedule: peak learning rate, and its factor as a function of progress.
        loss: of logits [B,K] and the batch, a mean over its clips.
        clip_norm: largest L2 norm of the gradient; 0: no clipping.
        precision: of the forward and backward passes.
        seed: of all that is random in steps.
        clip_value: largest absolute value of each number of the gradient; 0: no clipping.
        teacher: a trained network, whose outputs are part of the loss.
        compile: whether to compile the network with its loss, and what to do if that fails.
        sizes: all sizes of steps.
    """

    split: Split
    augment: Augment
    preprocess: Preprocess
    lr: float
    schedule: Schedule
    loss: Loss
    clip_norm: float
    precision: Precision
    seed: int
    clip_value: float = 0.0
    teacher: Teacher | None = None
    compile: Compile = "none"
    sizes: tuple[StepSize, ...] = (FULL,)


class StepHook(Protocol):
    """Called in every training step; see ``TrainStep.hooks``."""

    def before_step(self, step: int) -> None:
        """Called when the first clips of ``step`` (from 1) are on their device and augmented."""

    def after_step(self, step: int) -> None:
        """Called when ``step`` has changed the weights."""


class TrainStep:
    """Updates the weights of ``model`` with the gradient of the mean loss of all clips of a step.

    All random numbers derive from (seed, step, clip), so a resumed run repeats them, on any number of processes.

    Args:
        model, optimizer: the network on its device, and its optimizer.
        update: what a step does.
        world: this process among all.

    Attributes:
        objective: the network and its loss.
        forward: the objective, distributed over the processes.
        hooks: called in every step, in their order.
        average: an average of the weights, updated in every step.
        sums: what was measured since the last logging step.
        times: the parts of the time of these steps.
        broken: 1 if the loss or the gradient of a step was not finite, on any process; updates have stopped since then.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, update: Update, world: World) -> None:
        self.model, self.optimizer, self.update, self.world = model, optimizer, update, world
        self.hooks: list[StepHook] = []
        self.average: WeightAverage | None = None
        self.sums = LoggedSums(world.device)
        self.times = StepTimes(world.device)
        self.broken = torch.zeros((), device=world.device)
        self.randomness = StepRandomness(model, world.device)
        self._split = update.split  # of the current step
        self._statistics = collect_statistics(model, [update.split.times(size) for size in update.sizes])
        self.scaler = loss_scaler(world.device, update.precision)
        if world.device.type == "cpu" and update.precision == "bfloat16":
            avoid_faulty_bfloat16(model)
        self.objective = Objective(model, update.loss, precision=update.precision, teacher=update.teacher)
        compile_module(self.objective, update.compile, len(update.sizes))
        self.forward = _distributed(self.objective, world)

    def __call__(self, batches: Iterable[Batch], step: int, progress: float, size: StepSize = FULL) -> None:
        """Update the weights once.

        Args:
            batches: of this process, one for each forward pass.
            step: steps done before this one.
            progress: the fraction of the training that is done.
            size: one of ``Update.sizes``.
        """
        self._split = self.update.split.times(size)
        divide_statistics(self._statistics, self._split)
        set_learning_rate(self.optimizer, self.update.lr * self.update.schedule(progress))
        self.optimizer.zero_grad(set_to_none=True)
        finite = torch.ones((), dtype=torch.bool, device=self.world.device)
        for number, batch in enumerate(batches):
            with self.times.part("compute"):
                finite &= torch.isfinite(self._backward(batch, step, number))
        with self.times.part("optimizer"):
            norm = self._update_weights(finite, step)
        for hook in self.hooks:
            hook.after_step(step + 1)
        self.sums.end_step(norm)
        self.times.end_step()

    def _update_weights(self, finite: torch.Tensor, step: int) -> torch.Tensor:
        """Apply the gradient of ``step`` if its losses were ``finite``, and return the L2 norm of the gradient."""
        lost = update_running_statistics(self._statistics, self.world, (~finite).float())
        self.scaler.unscale_(self.optimizer)
        norm = clip_gradients(self.model, clip_norm=self.update.clip_norm, clip_value=self.update.clip_value)
        overflow = ~torch.isfinite(norm)
        failed = lost > 0  # on any process; the gradient is the same on all
        if self.scaler.is_enabled():  # it leaves out a few steps to find the scale
            norm = torch.where(overflow, 0, norm)
        else:
            failed |= overflow
        self.broken = torch.maximum(self.broken, failed.float())
        skipped = torch.maximum(self.broken, overflow.float())
        guarded_step(self.optimizer, skipped)
        if self.average is not None:
            self.average.update(step + 1, skipped)
        self.scaler.update()
        return norm

    def _backward(self, batch: Batch, step: int, number: int) -> torch.Tensor:
        """Add the gradient of forward pass ``number`` of ``step``, and return its loss."""
        update, device, place = self.update, self.world.device, self._split.place(self.world.rank, number)
        self.randomness.seed(update.seed, step, place)
        batch = update.augment(batch.to(device), step_seed(update.seed, step), place)
        for hook in self.hooks if number == 0 else ():
            hook.before_step(step + 1)
        passes = self._split.passes
        with self._local() if number + 1 < passes else contextlib.nullcontext():
            inputs = update.preprocess(batch.clips)
            with explain_small_groups(place.group):
                forward = functools.partial(self.forward, inputs, batch)
                loss, logits = call_compiled(forward, self.objective, update.compile)
            loss = loss / passes
            scaled = self.scaler.scale(loss)
            if self.world.size > 1 and number + 1 == passes:
                self.times.split_at_gradients(scaled)
            scaled.backward()
        self.sums.add(loss.detach(), logits, batch)
        return loss.detach()

    def _local(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which gradients stay on this process; the last forward pass averages them over all."""
        wrapped = self.forward
        if is_sharded(self.model):
            return local_gradients(self.model)
        return wrapped.no_sync() if isinstance(wrapped, DistributedDataParallel) else contextlib.nullcontext()


class LoggedSums:
    """Sums since the last logging step, on the device until they are read."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)  # loss, gradient norm, correct
        self._steps = self._clips = 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Exclude the time until now, such as that of an evaluation, from the rate."""
        self._since = time.perf_counter()
        self._timed = 0

    def add(self, loss: torch.Tensor, logits: torch.Tensor, batch: Batch) -> None:
        """Add a forward pass: its part of the loss of the step, and its correct predictions."""
        self._sums[::2] += torch.stack([loss.double(), count_correct(logits, batch).double()])
        self._clips += len(batch)
        self._timed += len(batch)

    def end_step(self, norm: torch.Tensor) -> None:
        """Add a step with the L2 norm of its gradient."""
        self._sums[1] += norm
        self._steps += 1

    def read(self, world: World) -> dict[str, float]:
        """Return the means over the steps and all processes, and reset the sums."""
        loss, norm, correct = world.mean(self._sums).tolist()
        rate = self._timed * world.size / (time.perf_counter() - self._since)
        values = {
            "loss": loss / self._steps,
            "grad_norm": norm / self._steps,
            "top1": correct / self._clips,
            "clips_per_second": rate,
            "clips_per_second_per_device": rate / world.size,
        }
        self._sums.zero_()
        self._steps = self._clips = 0
        self.restart_clock()
        return values


def _distributed(objective: Objective, world: World) -> nn.Module:
    if world.size == 1 or is_sharded(objective.model):
        return objective
    device_ids = [world.device] if world.device.type == "cuda" else None
    distributed = DistributedDataParallel(objective, device_ids=device_ids, gradient_as_bucket_view=True)
    distributed.broadcast_buffers = not buffers_agree(objective.model)  # one collective in each step
    return distributed
