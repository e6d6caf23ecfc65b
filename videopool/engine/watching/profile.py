"""A trace of some training steps, for Perfetto or Chrome."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from videopool.files import atomic_write

WARM_UP = 10  # steps before the trace: the first ones start workers, tune kernels and fill the memory cache


class StepProfiler:
    """Writes a ``torch.profiler`` trace of some steps: ``profile/steps-11-15-rank0.json.gz``. A hook of training steps.

    The trace begins when the first clips of a step are on their device, and ends when the last step has changed the
    weights, so it has one wait for the loader fewer than steps.

    Args:
        folder: for the trace.
        steps: to record.
        rank: of this process, for the name of the file.
        device: that computes.
        say: prints a sentence.
        warm_up: steps of this process before them.
    """

    def __init__(
        self,
        folder: Path,
        steps: int,
        *,
        rank: int,
        device: torch.device,
        say: Callable[[str], None],
        warm_up: int = WARM_UP,
    ) -> None:
        self._folder, self._steps, self._rank, self._device, self._say = folder, steps, rank, device, say
        self._before = warm_up
        self._first = 0
        self._profile: torch.profiler.profile | None = None

    def before_step(self, step: int) -> None:
        """Start at the first step after the warm-up."""
        if self._before == 0:
            self._first = step
            self._profile = torch.profiler.profile(activities=self._activities())
            self._profile.start()
        self._before -= 1

    def after_step(self, step: int) -> None:
        """Write the trace after the last step."""
        if self._profile is not None and step - self._first + 1 == self._steps:
            self._write(self._profile, self._folder / f"steps-{self._first}-{step}-rank{self._rank}.json.gz")
            self._profile = None

    def _activities(self) -> list[torch.profiler.ProfilerActivity]:
        kinds = torch.profiler.ProfilerActivity
        return [kinds.CPU, kinds.CUDA] if self._device.type == "cuda" else [kinds.CPU]

    def _write(self, profile: torch.profiler.profile, path: Path) -> None:
        profile.stop()
        try:
            with atomic_write(path) as temporary:
                _compress(profile, temporary)
        except OSError as error:
            reason = error.strerror or error
            self._say(f"warning: the profile {path} could not be written: {reason}; training continues")
            return
        self._say(f"profile written: {path}; open it in https://ui.perfetto.dev")


def _compress(profile: torch.profiler.profile, path: Path) -> None:
    """Write the compressed trace to ``path``.

    Raises:
        OSError: also if the trace is incomplete, which torch does not notice.
    """
    whole = path.with_name(f"{path.name}.json")
    try:
        profile.export_chrome_trace(str(whole))
        with whole.open("rb") as trace, gzip.open(path, "wb") as compressed:
            shutil.copyfileobj(trace, compressed)
            trace.seek(max(0, trace.tell() - 16))
            if not trace.read().rstrip().endswith(b"}"):
                raise OSError("the trace is incomplete")
    finally:
        whole.unlink(missing_ok=True)
