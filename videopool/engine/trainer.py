"""The training loop. It counts steps; the loader defines how many make an epoch.

Shapes: clips [B,C,T,H,W] uint8 from the loader, labels [B], logits [B,K].
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from videopool.data.loading.loader import TrainLoader
from videopool.data.loading.prefetch import on_device
from videopool.engine.checkpoints.failure import FailureRecord, replayable, shortened
from videopool.engine.checkpoints.files import CheckpointFolder, read_parts
from videopool.engine.checkpoints.writer import CheckpointWriter, SaveError
from videopool.engine.cluster.distributed import World
from videopool.engine.cluster.sharding import is_sharded, model_state_for, optimizer_state_for, whole_model
from videopool.engine.cluster.stop import StopRequest
from videopool.engine.optimization.early_stopping import EarlyStopping
from videopool.engine.scoring.evaluation import Evaluation
from videopool.engine.step.averaging import WeightAverage
from videopool.engine.step.compilation import compiled_graphs
from videopool.engine.step.precise_norm import PreciseNorm
from videopool.engine.step.precision import check_scale
from videopool.engine.step.train_step import TrainStep, Update
from videopool.engine.watching.log import BadVideos, RunLog
from videopool.engine.watching.step_times import group_values, read_times
from videopool.errors import InputError
from videopool.types import Batch, VideoRecord

MOST_STEPS, MOST_SECONDS = 5, 5.0  # between two agreements of several processes on whether to stop


@dataclasses.dataclass(frozen=True)
class Intervals:
    """How long training lasts, in epochs, and how often things happen.

    Attributes:
        epochs: epochs in all.
        log_every: steps between lines of the log.
        save_every: steps between checkpoints; 0: at the end of every epoch.
        evaluate_every: epochs between validations; 0: only at the end.
        patience: see ``EarlyStopping``.
    """

    epochs: int
    log_every: int
    save_every: int
    evaluate_every: int
    patience: int = 0


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """What a run writes.

    Attributes:
        checkpoints, log, bad_videos: writers of the run's folder.
        identity: plain values for every checkpoint: config, class names, whether a video may have several.
        videos: the training videos, whose ids errors name.
        max_bad_videos: training stops when more videos cannot be decoded.
    """

    checkpoints: CheckpointFolder
    log: RunLog
    bad_videos: BadVideos
    identity: dict[str, Any]
    videos: Sequence[VideoRecord]
    max_bad_videos: float


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
        average: of the weights of ``model``; validation measures its network.
        precise_norm: recomputes batch-norm statistics before each validation.

    Attributes:
        step: steps done.
        train_step: does a step; see ``TrainStep``.
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
        average: WeightAverage | None = None,
        precise_norm: PreciseNorm | None = None,
    ) -> None:
        self.model = model
        self.train_step = TrainStep(model, optimizer, update, world)
        self.average = self.train_step.average = average
        self.precise_norm = precise_norm
        self.optimizer, self.loader = optimizer, loader
        self.update, self.intervals, self.evaluate, self.world, self.stop = update, intervals, evaluate, world, stop
        self.checkpoints, self.log, self.bad_videos = files.checkpoints, files.log, files.bad_videos
        self.identity, self.videos, self.max_bad_videos = files.identity, files.videos, files.max_bad_videos
        self.total_steps = loader.steps.first(intervals.epochs)
        self.step = 0
        self.validated = 0  # the step of the last validation
        self.best: float | None = None
        self.stopping = EarlyStopping(intervals.patience)
        self.writer = CheckpointWriter(self.checkpoints, world, sharded=is_sharded(model))
        self.failures = FailureRecord(self.train_step)
        self._agreed, self._agree_from, self._agree_at = time.monotonic(), 0, 0
        self._started, self._hours_before = time.monotonic(), 0.0

    def restore(self, state: dict[str, Any]) -> None:
        """Restore weights, optimizer, position and best result from a checkpoint.

        The tensors of its shards may be on the meta device (see ``read_checkpoint``) if ``model`` is sharded.
        """
        parts: dict[str, Any] = {
            "model": model_state_for(self.model, state["model"]),
            "optimizer": optimizer_state_for(self.optimizer, state["optimizer"]),
        }
        if self.average is not None and "averaged" in state:
            parts["averaged"] = model_state_for(self.average.network, state["averaged"])
        read_parts(parts, state)
        self.model.load_state_dict(parts["model"])
        self.optimizer.load_state_dict(parts["optimizer"])
        if state.get("scaler"):
            self.train_step.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.restore({**state, **parts})
        self.step, self.validated, self.best = state["step"], state["validated"], state["best"]
        self.stopping.waited = state.get("waited", 0)
        self._hours_before = state.get("trained_hours", 0.0)

    @property
    def network(self) -> nn.Module:
        """The network that is validated: with averaged weights, if there are any."""
        return self.average.network if self.average is not None and self.average.updates else self.model

    @property
    def epoch(self) -> int:
        """The epoch of the next step, from 0."""
        return self.loader.steps.position(self.step)[0]

    def run(self) -> bool:
        """Train to the end and return True, or save and return False when a stop is requested."""
        self.model.train()
        self._agreed, self._agree_from, self._agree_at = time.monotonic(), self.step, self.step
        if self.validation_due():  # the run was stopped at the end of an epoch, before its validation
            self.save_step(self.evaluate_step())
        while not self.finished:
            epoch, offset = self.loader.steps.position(self.step)
            times = self.train_step.times
            loaded = times.waiting(self.loader.batches(epoch, start=offset))
            batches = on_device(loaded, self.world.device, measure=functools.partial(times.part, "transfer"))
            for _ in range(offset, self.loader.steps.count(epoch)):
                try:
                    self.update_weights(itertools.islice(batches, self.update.split.passes))
                except InputError:  # of the loader, such as that of a data set that has vanished
                    self._save_before_error()
                    raise
                self.log_step()
                if self.stop_step():
                    return False
                self.save_step(self.evaluate_step())
                if self.stopping.due:
                    return self._end_early()
        return True

    @property
    def finished(self) -> bool:
        """Whether no step is left: the last one is done, or validation no longer improves."""
        return self.step >= self.total_steps or self.stopping.due

    def _end_early(self) -> bool:
        """Save, and return True."""
        if self.step < self.total_steps:
            self.log.say(
                f"early stop after step {self.step}: {self.stopping.waited} validations without a better score"
            )
            self.save(False, ends=True)
        return True

    def update_weights(self, batches: Iterable[Batch]) -> None:
        """Do one step with the ``batches`` of this process, one for each forward pass."""
        size = self.loader.steps.size(self.step)
        self.train_step(self._listed(batches), self.step, self.progress(self.step), size)
        self.step += 1
        self.log.advance(self.step)

    def _listed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield ``batches``, and list the videos that could not be decoded."""
        for batch in batches:
            self.bad_videos.add(batch.bad, self.step + 1)
            self.failures.note(self.step + 1, batch)
            yield batch

    def log_step(self) -> None:
        """Log every ``log_every`` steps; only then does the host wait for the device."""
        if self.step % self.intervals.log_every and self.step != self.total_steps:
            return
        values = self.train_step.sums.read(self.world)
        values |= read_times(self.train_step.times, self.world) | group_values(self.optimizer)
        if self.update.compile != "none":
            values["compiled_graphs"] = compiled_graphs()
        self._check_broken()
        check_scale(self.train_step.scaler)
        bad = self._check_bad_videos()
        epoch = self.loader.steps.position(self.step - 1)[0]
        lr = self.optimizer.param_groups[0]["lr"]
        self.log.training({"step": self.step, "epoch": epoch, "lr": lr, "bad_videos": bad, **values})

    def validation_due(self) -> bool:
        """Return whether to validate now: at the end of every ``evaluate_every``-th epoch and of training, once."""
        epochs, inside = self.loader.steps.position(self.step)
        every = self.intervals.evaluate_every
        regular = bool(every) and not inside and not epochs % every
        return self.step != self.validated and (regular or self.step == self.total_steps)

    def evaluate_step(self) -> bool:
        """Validate if it is due; return whether the result is the best so far."""
        if not self.validation_due():
            return False
        self._check_broken()
        epoch = self.loader.steps.position(self.step - 1)[0]
        with whole_model(self.network):
            if self.precise_norm is not None:
                self.precise_norm(self.network, epoch)
            result = self.evaluate(self.network)
        self.validated = self.step
        if self.world.main:
            self.bad_videos.note(result.bad, self.step)
        values = {"step": self.step, "epoch": epoch, **dataclasses.asdict(result.metrics), **result.custom}
        self.log.evaluation(values, result.metrics.headline)
        self.train_step.sums.restart_clock()
        self.train_step.times.restart()
        score = result.metrics.score
        improved = score == score and (self.best is None or score > self.best)
        self.stopping.note(improved)
        if improved:
            self.best = score
        return improved

    def save_step(self, improved: bool) -> None:
        """Save every ``save_every`` steps (0: every epoch), at a new best and at the end."""
        if self.writer.done:
            self._finish_save()
        every, inside = self.intervals.save_every, self.loader.steps.position(self.step)[1]
        due = not self.step % every if every else not inside
        if improved or due or self.step == self.total_steps:
            self.save(improved)

    def stop_step(self) -> bool:
        """Save and return True if a stop was requested.

        Several processes agree on it every few steps, or after every step if steps are slow, so that all stop at the
        same step.
        """
        if self.step < self._agree_at or self.step == self.total_steps:
            return False
        now = time.monotonic()
        own = (now - self._agreed) / max(1, self.step - self._agree_from)
        requested, seconds = zip(*self.world.gather((self.stop.requested, own)), strict=True)
        if any(requested):
            self.save(False, ends=True)
            return True
        steps = 1 if self.world.size == 1 else min(MOST_STEPS, max(1, int(MOST_SECONDS / max(seconds))))
        self._agreed, self._agree_from, self._agree_at = now, self.step, self.step + steps
        return False

    def save(self, improved: bool, *, ends: bool = False) -> None:
        """Copy the state and start to write it as a checkpoint; wait until it is written if training ``ends``.

        A checkpoint that cannot be written is a warning while training continues, and an error if it ends.
        """
        self._check_broken()
        self._finish_save()
        self.writer.save(self.state(), is_best=improved)
        if not (ends or self.step == self.total_steps):
            return
        failure = ""
        try:
            self.writer.wait()
        except SaveError as error:
            failure = f"{error}; {self._saved()}. {error.remedy} and run the command again."
        failure = self.world.gather(failure)[0]
        if failure:
            raise InputError(failure)

    def _save_before_error(self) -> None:
        """Save the steps done until now, without the other processes, which may not know of the error."""
        saved = is_sharded(self.model) or self.step <= self.writer.step  # sharded weights need all processes
        if self.world.main and not saved and not self.train_step.broken.item():
            self._finish_save()
            self.writer.save(self.state())
            try:
                self.writer.wait()
            except SaveError as error:
                self.log.say(f"warning: {error}")

    def _finish_save(self) -> None:
        """Wait for the checkpoint that is being written, and report if that failed."""
        try:
            self.writer.wait()
        except SaveError as error:
            self.log.say(f"warning: {error}; {self._saved()}; training continues")

    def state(self) -> dict[str, Any]:
        """Return the content of a checkpoint (see ``engine.checkpoints.files``), in the tensors in use."""
        return {
            "format": 1,
            "model": self.model.state_dict(),
            **(self.average.state() if self.average is not None else {}),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.train_step.scaler.state_dict(),
            "step": self.step,
            "steps_per_epoch": self.loader.steps_per_epoch,
            "processes": self.world.size,
            "best": self.best,
            "waited": self.stopping.waited,
            "trained_hours": self._hours_before + (time.monotonic() - self._started) / 3600,
            "validated": self.validated,
            **self.identity,
        }

    def lr_of(self, step: int) -> float:
        """Return the learning rate of ``step``, from 1."""
        return self.update.lr * self.update.schedule(self.progress(step - 1))

    def progress(self, step: int) -> float:
        """Return which part of the training is done before ``step``, from 0."""
        return self.loader.steps.progress(step, self.intervals.epochs)

    def _check_broken(self) -> None:
        """Raise ``InputError`` on every process if the loss or the gradient was not finite on any of them."""
        if not self.train_step.broken.item():
            self.failures.forget()
            return
        step = self.failures.failed_step()
        numbers = itertools.chain.from_iterable(self.world.gather(self.failures.videos(step)))
        ids = [self.videos[number].id for number in numbers]
        raise InputError(
            f"the loss or the gradient is not finite in step {step} (learning rate {self.lr_of(step):.4g}, videos "
            f"{shortened(ids)}); {self._saved()}. Lower optim.lr, set optim.clip_norm=1, or use "
            f"train.precision=float32. {self._save_failed(step, ids)}"
        )

    def _save_failed(self, step: int, ids: list[str]) -> str:
        """Save what repeats ``step``, and return how to do that."""
        path = self.checkpoints.folder.parent / f"failed-step-{step:07d}.pt"
        try:
            self.writer.write(path, replayable(self.state(), self.update.split, step, self.lr_of(step), ids))
        except OSError as error:
            return f"The step could not be saved for --replay: {error.strerror or error}."
        return f"Repeat the step and find the layer with --replay {path}."

    def _saved(self) -> str:
        """Return which checkpoint exists. Its weights are finite, because broken steps do not change weights."""
        with contextlib.suppress(SaveError):
            self.writer.wait()
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
