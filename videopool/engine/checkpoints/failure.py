"""Find the step at which the loss or the gradient was not finite, without waiting for the device in each step."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from videopool.engine.step.split import Split
from videopool.engine.step.train_step import TrainStep
from videopool.types import Batch

_SHOWN = 4  # videos named in a message


class FailureRecord:
    """Counts on the device the steps before the first failure, and remembers the videos of steps not yet checked.

    It is a ``StepHook`` of ``train_step``, whose weights and optimizer do not change after a failure.
    """

    def __init__(self, train_step: TrainStep) -> None:
        self._train_step = train_step
        self._first = 0
        self._finite_steps = torch.zeros((), dtype=torch.int64, device=train_step.world.device)
        self._videos: dict[int, list[torch.Tensor]] = defaultdict(list)
        train_step.hooks.append(self)

    def note(self, step: int, batch: Batch) -> None:
        """Remember that ``batch`` belongs to ``step``, from 1."""
        self._videos[step].append(batch.video)

    def before_step(self, step: int) -> None:
        """Do nothing."""

    def after_step(self, step: int) -> None:
        """Count ``step`` if it was finite."""
        self._first = self._first or step
        self._finite_steps += self._train_step.broken == 0

    def forget(self) -> None:
        """Forget the videos of all steps so far, which were found to be finite."""
        self._videos.clear()

    def failed_step(self) -> int:
        """Return the first step that was not finite, from 1."""
        return self._first + int(self._finite_steps)

    def videos(self, step: int) -> list[int]:
        """Return the numbers of this process's videos in ``step``, one for each clip."""
        return [number for videos in self._videos[step] for number in videos.tolist()]


def replayable(state: Mapping[str, Any], split: Split, step: int, lr: float, videos: Sequence[str]) -> dict[str, Any]:
    """Return a checkpoint from which one process can repeat ``step``, even if several processes shared it.

    Args:
        state: the checkpoint when the failure was found, with the weights before ``step``.
        split: how the processes shared the step.
        step: the step that was not finite, from 1.
        lr: its learning rate.
        videos: the ids of its videos, in the order of the clips.
    """
    config = copy.deepcopy(state["config"])
    config["train"] |= {"batch": split.batch, "batch_per_device": split.size, "norm_batch": split.group}
    failed = {"step": step, "lr": lr, "videos": list(videos)}
    return {**state, "config": config, "step": step - 1, "failed": failed}


def shortened(ids: Sequence[str]) -> str:
    """Return the first few of ``ids`` and the number of the others, as in "a, b and 62 more"."""
    more = len(ids) - _SHOWN
    return ", ".join(ids[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
