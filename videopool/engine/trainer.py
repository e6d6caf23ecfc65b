"""The training loop. Steps are the clock; an epoch is a property of the loader.

Shapes: clips [B,C,T,H,W] uint8 from the loader, labels [B], logits [B,K].
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from videopool.data.loading.loader import TrainLoader
from videopool.data.loading.prefetch import on_device
from videopool.engine.checkpoint import CheckpointFolder
from videopool.engine.distributed import World
from videopool.engine.evaluate import Evaluation, Prepare
from videopool.engine.log import BadVideos, RunLog
from videopool.engine.loss import Loss, right
from videopool.engine.optim import guarded_step, set_learning_rate
from videopool.engine.schedule import Schedule
from videopool.engine.stop import StopRequest
from videopool.errors import InputError
from videopool.pooling import share_generator
from videopool.types import Batch

Augment = Callable[[Batch, int], Batch]  # a batch on its device and the seed of the step -> what is trained on

STOP_EVERY = 5  # steps after which several processes ask each other whether one was told to stop


@dataclasses.dataclass(frozen=True)
class Rhythm:
    """How often things happen, and how long training lasts. All counts are steps but ``epochs``."""

    epochs: int
    log_every: int
    save_every: int
    evaluate_every: int


@dataclasses.dataclass(frozen=True)
class Update:
    """What one step does: peak learning rate and its schedule, loss, gradient clipping (0: off), autocast, seed."""

    lr: float
    schedule: Schedule
    loss: Loss
    clip_norm: float
    bfloat16: bool
    seed: int


class Trainer:
    """Trains ``model`` with clips of ``loader``, changed by ``augment``; ``evaluate`` is called for validation,
    ``identity`` (config, class names and their kind, plain values) goes into every checkpoint."""

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loader: TrainLoader,
        augment: Augment,
        prepare: Prepare,
        evaluate: Callable[[nn.Module], Evaluation],
        update: Update,
        rhythm: Rhythm,
        world: World,
        checkpoints: CheckpointFolder,
        log: RunLog,
        bad_videos: BadVideos,
        max_bad_videos: float,
        identity: dict[str, Any],
        stop: StopRequest,
    ) -> None:
        self.model = model
        self.forward = _distributed(model, world)
        self.optimizer, self.loader, self.augment, self.prepare = optimizer, loader, augment, prepare
        self.evaluate, self.update, self.rhythm, self.world = evaluate, update, rhythm, world
        self.checkpoints, self.log, self.bad_videos = checkpoints, log, bad_videos
        self.max_bad_videos, self.identity, self.stop = max_bad_videos, identity, stop
        self.total_steps = rhythm.epochs * loader.steps_per_epoch
        self.step = 0
        self.validated = 0  # the step of the last validation
        self.best: float | None = None
        self._window = _Window(world.device)
        self._broken = torch.zeros((), device=world.device)
        self._draws = share_generator(model, world.device)

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint: weights, optimizer, position and best result."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.validated, self.best = state["step"], state["validated"], state["best"]

    @property
    def epoch(self) -> int:
        """The epoch that the next step belongs to, from 0."""
        return self.step // self.loader.steps_per_epoch

    def run(self) -> bool:
        """Trains to the end; False when a stop was asked for before (everything is saved then)."""
        self.model.train()
        if self.validation_due():  # it was stopped at the end of an epoch, before its validation
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
        """One update. All that is random in it derives from (seed, step, rank), so a resumed run repeats it."""
        self.bad_videos.add(batch.bad, self.step + 1)
        seed = _step_seed(self.update.seed, self.step, self.world.rank)
        self._seed(seed)
        lr = self.update.lr * self.update.schedule(self.step / self.total_steps)
        set_learning_rate(self.optimizer, lr)
        batch = self.augment(batch.to(self.world.device), seed)
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.update.bfloat16):
            logits = self.forward(self.prepare(batch.clips))
        loss = self.update.loss(logits.float(), batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = _clip(self.model, self.update.clip_norm)
        self._mark_broken(loss, norm)
        guarded_step(self.optimizer, self._broken)
        self._window.add(loss, norm, logits, batch)
        self.step += 1
        self.log.advance(self.step)

    def log_step(self) -> None:
        """Every ``log_every`` steps the only look of the host at the device: loss, bad videos, non-finite loss."""
        if self.step % self.rhythm.log_every and self.step != self.total_steps:
            return
        values = self._window.read(self.world)
        self._check_broken()
        bad = self._check_bad_videos()
        epoch = (self.step - 1) // self.loader.steps_per_epoch
        lr = self.optimizer.param_groups[0]["lr"]
        self.log.training({"step": self.step, "epoch": epoch, "lr": lr, "bad_videos": bad, **values})

    def validation_due(self) -> bool:
        """At the end of every ``evaluate_every``-th epoch and of training, once."""
        epochs, inside = divmod(self.step, self.loader.steps_per_epoch)
        every = self.rhythm.evaluate_every
        regular = bool(every) and not inside and not epochs % every
        return self.step != self.validated and (regular or self.step == self.total_steps)

    def evaluate_step(self) -> bool:
        """Validates when it is due; whether it was the best so far."""
        if not self.validation_due():
            return False
        self._check_broken()
        result = self.evaluate(self.model)
        self.validated = self.step
        if self.world.main:
            self.bad_videos.note(result.bad, self.step)
        epoch = (self.step - 1) // self.loader.steps_per_epoch
        values = {"step": self.step, "epoch": epoch, **dataclasses.asdict(result.metrics)}
        self.log.evaluation(values, result.metrics.headline)
        self._window.restart_clock()
        score = result.metrics.score
        if score != score or (self.best is not None and score <= self.best):
            return False
        self.best = score
        return True

    def save_step(self, improved: bool) -> None:
        """Saves every ``save_every`` steps (0: every epoch), at a new best and at the end."""
        every = self.rhythm.save_every or self.loader.steps_per_epoch
        if improved or self.step % every == 0 or self.step == self.total_steps:
            self.save(improved)

    def stop_step(self) -> bool:
        """Whether to stop here because a signal asked for it; the checkpoint is written then.

        Several processes agree on it every few steps, so that all of them stop at the same one.
        """
        if self.world.size > 1 and self.step % STOP_EVERY:
            return False
        if self.step == self.total_steps or not any(self.world.gather(self.stop.requested)):
            return False
        self.save(False, ends=True)
        return True

    def save(self, improved: bool, *, ends: bool = False) -> None:
        """Writes a checkpoint. A full disk is a warning while training continues, and an error where it ``ends``."""
        self._check_broken()
        failure = ""
        if self.world.main:
            try:
                self.checkpoints.save(self.state(), is_best=improved)
            except OSError as error:
                failure = f"checkpoint of step {self.step} not written: {error.strerror or error}"
        failure = self.world.gather(failure)[0]
        if not failure:
            return
        if ends or self.step == self.total_steps:
            raise InputError(f"{failure}; {self._saved()}: free space in {self.checkpoints.folder} and start again")
        self.log.say(f"warning: {failure}; {self._saved()}; training continues")

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds (see ``engine.checkpoint``)."""
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
        """Seeds what draws in a step; pooling that draws has a generator of its own, so that dropout is the same for
        every pooling."""
        torch.manual_seed(seed)
        if self._draws is not None:
            self._draws.manual_seed(seed)

    def _mark_broken(self, loss: torch.Tensor, norm: torch.Tensor) -> None:
        """Once the loss or the gradient was not finite, on any process, no step changes the weights any more."""
        now = ~(torch.isfinite(loss.detach()) & torch.isfinite(norm))
        self._broken = self.world.maximum(torch.maximum(self._broken, now.float()))

    def _check_broken(self) -> None:
        if self._broken.item():
            raise InputError(
                f"loss or gradient is not finite near step {self.step}; {self._saved()}: lower optim.lr, set "
                "optim.clip_norm=1, or use train.precision=float32"
            )

    def _saved(self) -> str:
        """What there is to go on from. Checkpoints hold finite weights: none is written after a loss that is not."""
        last = self.checkpoints.last
        return f"{last} holds the weights from before" if last.exists() else "no checkpoint was written before"

    def _check_bad_videos(self) -> int:
        count = len(frozenset().union(*self.world.gather(self.bad_videos.failed)))
        if count > self.max_bad_videos:
            raise InputError(
                f"{count} videos could not be decoded, more than the {self.max_bad_videos:g} of data.max_bad_fraction; "
                f"mend those listed in {self.bad_videos.path}, or raise data.max_bad_fraction"
            )
        return count


class _Window:
    """Sums since the last logging step, kept on the device until they are read."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)  # loss, gradient norm, correct
        self._steps = self._clips = 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Takes what happened between two steps, such as an evaluation, out of the rate."""
        self._since = time.perf_counter()
        self._timed = 0

    def add(self, loss: torch.Tensor, norm: torch.Tensor, logits: torch.Tensor, batch: Batch) -> None:
        correct = right(logits.detach(), batch)
        self._sums += torch.stack([loss.detach().double(), norm.double(), correct.double()])
        self._steps += 1
        self._clips += len(batch)
        self._timed += len(batch)

    def read(self, world: World) -> dict[str, float]:
        """Means over the window and all processes; starts the next window."""
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
    """L2 norm of the whole gradient, which is scaled down to ``largest`` (0: left alone)."""
    if largest:
        return nn.utils.clip_grad_norm_(model.parameters(), largest)
    return nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])


def _step_seed(seed: int, step: int, rank: int) -> int:
    """A 63-bit seed of its own for each (seed, step, rank): a fixed integer hash (splitmix64)."""
    value = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) & (2**64 - 1)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        value = ((value ^ (value >> shift)) * factor) & (2**64 - 1)
    return (value ^ (value >> 31)) >> 1
