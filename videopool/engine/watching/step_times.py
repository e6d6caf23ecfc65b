"""Where the time of training steps goes, measured without making the host wait for the device."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, Protocol, TypeVar, get_args

import torch
from torch import nn
from torch.autograd import Variable

from videopool.engine.cluster.distributed import World
from videopool.engine.cluster.sharding import whole

Item = TypeVar("Item")
Part = Literal["data", "transfer", "compute", "optimizer", "communication"]
PARTS: tuple[Part, ...] = get_args(Part)


class _Clock(Protocol):
    """Marks points in time, and later measures the seconds between two of them."""

    def mark(self) -> float: ...

    def seconds(self, start: float, end: float) -> float: ...

    def reuse(self) -> None: ...


class _HostClock:
    """The time of the host.

    Args:
        now: returns seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.mark = now

    def seconds(self, start: float, end: float) -> float:
        """Return the seconds between two marks."""
        return end - start

    def reuse(self) -> None:
        """Forget all marks."""


class _CudaClock:
    """The time at which a GPU reaches a point of the current stream. Marks are numbers of events, which are reused."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._events, self._used = device, list[torch.cuda.Event](), 0

    def mark(self) -> float:
        """Record an event in the current stream."""
        if self._used == len(self._events):
            self._events.append(torch.cuda.Event(enable_timing=True))
        self._events[self._used].record(torch.cuda.current_stream(self._device))
        self._used += 1
        return self._used - 1

    def seconds(self, start: float, end: float) -> float:
        """Wait until the device has reached ``end``, and return the seconds since ``start``."""
        first, last = self._events[int(start)], self._events[int(end)]
        last.synchronize()
        return first.elapsed_time(last) / 1000

    def reuse(self) -> None:
        """Forget all marks."""
        self._used = 0


class StepTimes:
    """Adds up the parts of training steps.

    On a GPU, events in its streams mark where a part begins and ends. They are read when the values are logged, so a
    step never waits for the device. Elsewhere the clock of the host is read. ::

        data          the device is idle until the next batch has arrived from the loader
        transfer      the batch is copied to the device; on a GPU at the same time as ``compute``, in another stream
        compute       augmentation, forward and backward pass
        communication gradients are averaged after the backward pass; what overlaps with it counts as ``compute``
        optimizer     clipping and the update of the weights

    Args:
        device: that computes.
        now: the clock of the host, in seconds.
    """

    def __init__(self, device: torch.device, *, now: Callable[[], float] = time.perf_counter) -> None:
        self._clock: _Clock = _CudaClock(device) if device.type == "cuda" else _HostClock(now)
        self._now = now
        self._marks: list[tuple[Part, float, float]] = []
        self._gradients: float | None = None
        self._steps, self._seconds, self._since = 0, 0.0, now()

    @contextlib.contextmanager
    def part(self, name: Part) -> Iterator[None]:
        """Add the time in the ``with`` block to a part. Blocks do not contain each other."""
        self._gradients = None
        with _named(name):
            start = self._clock.mark()
            try:
                yield
            finally:
                end = self._clock.mark()
        if self._gradients is None:
            self._marks.append((name, start, end))
        else:
            self._marks += [(name, start, self._gradients), ("communication", self._gradients, end)]

    def split_at_gradients(self, loss: torch.Tensor) -> None:
        """Count what follows the last gradient of ``loss.backward()`` as communication, in the block around it.

        Call it before ``backward``. DistributedDataParallel ends its backward pass by waiting for the averages.
        """
        # The engine calls these callbacks when all gradients are there, in the order in which they were queued. This
        # one is queued at the start of the backward pass, that of DistributedDataParallel with the last gradient.
        engine = Variable._execution_engine  # type: ignore[attr-defined]
        loss.register_hook(lambda gradient: engine.queue_callback(self._mark_gradients))

    def waiting(self, batches: Iterable[Item]) -> Iterator[Item]:
        """Yield ``batches``; the time until each arrives is that of ``data``."""
        iterator = iter(batches)
        while True:
            with self.part("data"):
                try:
                    batch = next(iterator)
                except StopIteration:
                    return
            yield batch

    def end_step(self) -> None:
        """Count a step."""
        now = self._now()
        self._seconds += now - self._since
        self._since = now
        self._steps += 1

    def restart(self) -> None:
        """Exclude the time since the last step, such as that of an evaluation."""
        self._since = self._now()

    def read(self) -> dict[str, float]:
        """Return the mean seconds of a step and of its parts, such as ``data_seconds``, and start over.

        On a GPU, the host waits until the GPU has finished the work that was queued so far.
        """
        steps = max(1, self._steps)
        totals: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        for name, start, end in self._marks:
            totals[name] += self._clock.seconds(start, end)
        values = {"step_seconds": self._seconds / steps, **{f"{name}_seconds": totals[name] / steps for name in PARTS}}
        self._marks.clear()
        self._clock.reuse()
        self._steps, self._seconds = 0, 0.0
        return values

    def _mark_gradients(self) -> None:
        self._gradients = self._clock.mark()


def _named(part: Part) -> contextlib.AbstractContextManager[object]:
    """Return a context that names a part in the trace of a profiler; without one, it costs nothing."""
    recording = torch.autograd.profiler._is_profiler_enabled
    return torch.profiler.record_function(f"step: {part}") if recording else contextlib.nullcontext()


def combined(values: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return one value for all processes: the mean of each time, the largest peak, and ``longest_data_seconds``.

    That is the largest ``data_seconds``.
    """
    mean = {name: sum(one[name] for one in values) / len(values) for name in values[0]}
    largest = {name: max(one[name] for one in values) for name in values[0] if name.startswith("peak_")}
    return {**mean, **largest, "longest_data_seconds": max(one["data_seconds"] for one in values)}


def read_times(times: StepTimes, world: World) -> dict[str, float]:
    """Return what ``times`` measured on all processes, and the largest ``peak_memory_bytes``. All must call this."""
    return combined(world.gather({**times.read(), "peak_memory_bytes": peak_memory_bytes(world.device)}))


def peak_memory_bytes(device: torch.device) -> float:
    """Return the most bytes of tensors on a GPU so far; elsewhere, of the memory of this process."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)


def group_values(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Return the learning rate and the L2 norm of the present gradient of each parameter group, if there are several.

    The keys are ``lr/NAME`` and ``grad_norm/NAME``; NAME is the ``name`` of a group, or its number. After a step, the
    gradient is the clipped one. The host waits for the device once. All processes must call this.
    """
    groups = optimizer.param_groups
    if len(groups) < 2:
        return {}
    names = [str(group.get("name") or number) for number, group in enumerate(groups)]
    gradients = [[p.grad for p in group["params"] if p.grad is not None] for group in groups]
    some = next((part[0] for part in gradients if part), torch.zeros(()))
    norms = torch.stack([_norm(part, some.device) for part in gradients]).tolist()
    values = {f"lr/{name}": float(group["lr"]) for name, group in zip(names, groups, strict=True)}
    return {**values, **{f"grad_norm/{name}": norm for name, norm in zip(names, norms, strict=True)}}


def _norm(gradients: list[torch.Tensor], device: torch.device) -> torch.Tensor:
    if not gradients:
        return torch.zeros((), dtype=torch.float64, device=device)
    return whole(nn.utils.get_total_norm(gradients)).double()
