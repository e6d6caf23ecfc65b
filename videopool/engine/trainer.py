"""The training loop. It counts steps; the loader defines how many make an epoch.

Shapes: clips [B,C,T,H,W] uint8 from the loader, labels [B], logits [B,K].
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from videopool.data.loading.loader import TrainLoader
from videopool.data.loading.prefetch import on_device
from videopool.engine.checkpoint import CheckpointFolder
from videopool.engine.distributed import World
from videopool.engine.evaluation import Evaluation, Preprocess
from videopool.engine.log import BadVideos, RunLog
from videopool.engine.loss import Loss, count_correct
from videopool.engine.optim import guarded_step, set_learning_rate
from videopool.engine.schedule import Schedule
from videopool.engine.stop import StopRequest
from videopool.errors import InputError
from videopool.pooling import share_generator
from videopool.types import Batch

Augment = Callable[[Batch, int], Batch]  # a batch on its device, and the seed of the step

STOP_EVERY = 5  # steps after which several processes agree on whether to stop


@dataclasses.dataclass(frozen=True)
class Intervals:
    """How long training lasts, in epochs, and how often things happen.

    Attributes:
        epochs: epochs in all.
        log_every: steps between lines of the log.
        save_every: steps between checkpoints; 0: at the end of every epoch.
        evaluate_every: epochs between validations; 0: only at the end.
    """

    epochs: int
    log_every: int
    save_every: int
    evaluate_every: int


@dataclasses.dataclass(frozen=True)
class Update:
    """What one step does.

    Attributes:
        augment: changes a batch on its device, given the seed of the step.
        preprocess: turns uint8 clips into the input of the network.
        lr, schedule: peak learning rate, and its factor as a function of progress.
        loss: of logits [B,K] and the batch.
        clip_norm: largest L2 norm of the gradient; 0: no clipping.
        bfloat16: run the forward pass under autocast.
        seed: of all that is random in steps.
    """

    augment: Augment
    preprocess: Preprocess
    lr: float
    schedule: Schedule
    loss: Loss
    clip_norm: float
    bfloat16: bool
    seed: int


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """What a run writes.

    Attributes:
        checkpoints, log, bad_videos: writers of the run's folder.
        identity: plain values for every checkpoint: config, class names, whether a video may have several.
        max_bad_videos: training stops when more videos cannot be decoded.
    """

    checkpoints: CheckpointFolder
    log: RunLog
    bad_videos: BadVideos
    identity: dict[str, Any]
    max_bad_videos: float


class StepHook(Protocol):
    """Called in every training step; see ``Trainer.hooks``."""

    def before_step(self, step: int) -> None:
        """Called when the clips of ``step`` (from 1) are on their device and augmented."""

    def after_step(self, step: int) -> None:
        """Called when ``step`` has changed the weights."""


class Trainer:
    """Train ``model`` on the clips of ``loader``.

    Args:
        model, optimizer, loader: the network on its device, its optimizer, and the loader of training clips.
        update: what one step does.
        intervals: how long and how often.
        files: what the run writes.
        evaluate: validates the network.
        world: this process among all.
        stop: asked after every step whether to stop.

    Attributes:
        step: steps done.
        hooks: called in every step, in their order.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loader: TrainLoader,
        *,
        update: Update,
        intervals: Intervals,
        files: RunFiles,
        evaluate: Callable[[nn.Module], Evaluation],
        world: World,
        stop: StopRequest,
    ) -> None:
        self.model = model
        self.forward = _distributed(model, world)
        self.optimizer, self.loader = optimizer, loader
        self.update, self.intervals, self.evaluate, self.world, self.stop = update, intervals, evaluate, world, stop
        self.checkpoints, self.log, self.bad_videos = files.checkpoints, files.log, files.bad_videos
        self.identity, self.max_bad_videos = files.identity, files.max_bad_videos
        self.hooks: list[StepHook] = []
        self.total_steps = intervals.epochs * loader.steps_per_epoch
        self.step = 0
        self.validated = 0  # the step of the last validation
        self.best: float | None = None
        self._sums = _LoggedSums(world.device)
        self._broken = torch.zeros((), device=world.device)
        self._pooling_generator = share_generator(model, world.device)

    def restore(self, state: dict[str, Any]) -> None:
        """Restore weights, optimizer, position and best result from a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.validated, self.best = state["step"], state["validated"], state["best"]

    @property
    def epoch(self) -> int:
        """The epoch of the next step, from 0."""
        return self.step // self.loader.steps_per_epoch

    def run(self) -> bool:
        """Train to the end and return True, or save and return False when a stop is requested."""
        self.model.train()
        if self.validation_due():  # the run was stopped at the end of an epoch, before its validation
            self.save_step(self.evaluate_step())
        while self.step < self.total_steps:
            offset = self.step % self.loader.steps_per_epoch
            for batch in on_device(self.loader.batches(self.epoch, start=offset), self.world.device):
                self.train_step(batch)
                self.log_step()
                if self.stop_step():
                    return False
                self.save_step(self.evaluate_step())
        return True

    def train_step(self, batch: Batch) -> None:
        """Update the weights once. All that is random derives from (seed, step, rank), so a resumed run repeats it."""
        self.bad_videos.add(batch.bad, self.step + 1)
        seed = _step_seed(self.update.seed, self.step, self.world.rank)
        self._seed(seed)
        lr = self.update.lr * self.update.schedule(self.step / self.total_steps)
        set_learning_rate(self.optimizer, lr)
        batch = self.update.augment(batch.to(self.world.device), seed)
        for hook in self.hooks:
            hook.before_step(self.step + 1)
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.update.bfloat16):
            logits = self.forward(self.update.preprocess(batch.clips))
        loss = self.update.loss(logits.float(), batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = _clip(self.model, self.update.clip_norm)
        self._mark_broken(loss, norm)
        guarded_step(self.optimizer, self._broken)
        for hook in self.hooks:
            hook.after_step(self.step + 1)
        self._sums.add(loss, norm, logits, batch)
        self.step += 1
        self.log.advance(self.step)

    def log_step(self) -> None:
        """Log every ``log_every`` steps; only then does the host wait for the device."""
        if self.step % self.intervals.log_every and self.step != self.total_steps:
            return
        values = self._sums.read(self.world)
        self._check_broken()
        bad = self._check_bad_videos()
        epoch = (self.step - 1) // self.loader.steps_per_epoch
        lr = self.optimizer.param_groups[0]["lr"]
        self.log.training({"step": self.step, "epoch": epoch, "lr": lr, "bad_videos": bad, **values})

    def validation_due(self) -> bool:
        """Return whether to validate now: at the end of every ``evaluate_every``-th epoch and of training, once."""
        epochs, inside = divmod(self.step, self.loader.steps_per_epoch)
        every = self.intervals.evaluate_every
        regular = bool(every) and not inside and not epochs % every
        return self.step != self.validated and (regular or self.step == self.total_steps)

    def evaluate_step(self) -> bool:
        """Validate if it is due; return whether the result is the best so far."""
        if not self.validation_due():
            return False
        self._check_broken()
        result = self.evaluate(self.model)
        self.validated = self.step
        if self.world.main:
            self.bad_videos.note(result.bad, self.step)
        epoch = (self.step - 1) // self.loader.steps_per_epoch
        values = {"step": self.step, "epoch": epoch, **dataclasses.asdict(result.metrics), **result.custom}
        self.log.evaluation(values, result.metrics.headline)
        self._sums.restart_clock()
        score = result.metrics.score
        if score != score or (self.best is not None and score <= self.best):
            return False
        self.best = score
        return True

    def save_step(self, improved: bool) -> None:
        """Save every ``save_every`` steps (0: every epoch), at a new best and at the end."""
        every = self.intervals.save_every or self.loader.steps_per_epoch
        if improved or self.step % every == 0 or self.step == self.total_steps:
            self.save(improved)

    def stop_step(self) -> bool:
        """Save and return True if a stop was requested.

        Several processes agree on it every few steps, so that all stop at the same step.
        """
        if self.world.size > 1 and self.step % STOP_EVERY:
            return False
        if self.step == self.total_steps or not any(self.world.gather(self.stop.requested)):
            return False
        self.save(False, ends=True)
        return True

    def save(self, improved: bool, *, ends: bool = False) -> None:
        """Write a checkpoint. A full disk is a warning while training continues, and an error if it ``ends``."""
        self._check_broken()
        failure = ""
        if self.world.main:
            try:
                self.checkpoints.save(self.state(), is_best=improved)
            except OSError as error:
                failure = f"the checkpoint of step {self.step} could not be written: {error.strerror or error}"
        failure = self.world.gather(failure)[0]
        if not failure:
            return
        if ends or self.step == self.total_steps:
            raise InputError(
                f"{failure}; {self._saved()}. Free space in {self.checkpoints.folder} and run the command again."
            )
        self.log.say(f"warning: {failure}; {self._saved()}; training continues")

    def state(self) -> dict[str, Any]:
        """Return the content of a checkpoint (see ``engine.checkpoint``)."""
        return {
            "format": 1,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "steps_per_epoch": self.loader.steps_per_epoch,
            "processes": self.world.size,
            "best": self.best,
            "validated": self.validated,
            **self.identity,
        }

    def _seed(self, seed: int) -> None:
        """Seed the random numbers of a step. Random pooling has its own generator, so that dropout does not depend on
        the pooling."""
        torch.manual_seed(seed)
        if self._pooling_generator is not None:
            self._pooling_generator.manual_seed(seed)

    def _mark_broken(self, loss: torch.Tensor, norm: torch.Tensor) -> None:
        """Stop all further updates once the loss or the gradient is not finite on any process."""
        now = ~(torch.isfinite(loss.detach()) & torch.isfinite(norm))
        self._broken = self.world.maximum(torch.maximum(self._broken, now.float()))

    def _check_broken(self) -> None:
        if self._broken.item():
            raise InputError(
                f"the loss or the gradient is not finite near step {self.step}; {self._saved()}. Lower optim.lr, set "
                "optim.clip_norm=1, or use train.precision=float32."
            )

    def _saved(self) -> str:
        """Return which checkpoint exists. Its weights are finite, because broken steps do not change weights."""
        last = self.checkpoints.last
        return f"{last} holds earlier weights" if last.exists() else "there is no earlier checkpoint"

    def _check_bad_videos(self) -> int:
        count = len(frozenset().union(*self.world.gather(self.bad_videos.failed)))
        if count > self.max_bad_videos:
            raise InputError(
                f"{count} videos could not be decoded, and data.max_bad_fraction allows {self.max_bad_videos:g}. "
                f"Repair the videos listed in {self.bad_videos.path}, or raise data.max_bad_fraction."
            )
        return count


class _LoggedSums:
    """Sums since the last logging step, on the device until they are read."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)  # loss, gradient norm, correct
        self._steps = self._clips = 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Exclude the time until now, such as that of an evaluation, from the rate."""
        self._since = time.perf_counter()
        self._timed = 0

    def add(self, loss: torch.Tensor, norm: torch.Tensor, logits: torch.Tensor, batch: Batch) -> None:
        correct = count_correct(logits.detach(), batch)
        self._sums += torch.stack([loss.detach().double(), norm.double(), correct.double()])
        self._steps += 1
        self._clips += len(batch)
        self._timed += len(batch)

    def read(self, world: World) -> dict[str, float]:
        """Return the means over the steps and all processes, and reset the sums."""
        loss, norm, correct = world.mean(self._sums).tolist()
        rate = self._timed * world.size / (time.perf_counter() - self._since)
        values = {
            "loss": loss / self._steps,
            "grad_norm": norm / self._steps,
            "top1": correct / self._clips,
            "clips_per_second": rate,
        }
        self._sums.zero_()
        self._steps = self._clips = 0
        self.restart_clock()
        return values


def _distributed(model: nn.Module, world: World) -> nn.Module:
    if world.size == 1:
        return model
    device_ids = [world.device] if world.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=device_ids, gradient_as_bucket_view=True)


def _clip(model: nn.Module, largest: float) -> torch.Tensor:
    """Return the L2 norm of the whole gradient and scale it down to ``largest`` (0: no scaling)."""
    if largest:
        return nn.utils.clip_grad_norm_(model.parameters(), largest)
    return nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Return a 63-bit seed for each (seed, step, rank): a fixed integer hash (splitmix64)."""
    value = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) & (2**64 - 1)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = ((value ^ (value >> shift)) * factor) & (2**64 - 1)
    return (value ^ (value >> 31)) >> 1
