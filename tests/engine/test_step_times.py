"""The parts of a step add up, with a clock that the test moves, on a stand-in for CUDA and on a GPU."""

from __future__ import annotations

import itertools
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.autograd import Variable

from videopool.engine.cluster.distributed import World
from videopool.engine.watching.step_times import PARTS, StepTimes, combined, group_values, read_times

CPU = torch.device("cpu")


class Clock:
    """A clock that ``wait`` moves."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time

    def wait(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def times(clock: Clock) -> StepTimes:
    return StepTimes(CPU, now=clock)


def run_step(times: StepTimes, clock: Clock, factor: float) -> None:
    with times.part("transfer"):
        clock.wait(1 * factor)
    for _ in range(2):  # two forward passes of a step
        with times.part("compute"):
            clock.wait(4 * factor)
    with times.part("optimizer"):
        clock.wait(2 * factor)
    clock.wait(0.5 * factor)  # of no part
    times.end_step()


def test_parts_are_means_over_the_steps(times: StepTimes, clock: Clock) -> None:
    def batches() -> Any:
        for number in range(2):
            clock.wait(16)
            yield number
        clock.wait(32)  # the end of an epoch

    for number in times.waiting(batches()):
        run_step(times, clock, 1 + 2 * number)
    found = times.read()
    assert found == {
        "step_seconds": (16 + 11.5 + 16 + 34.5) / 2,
        "data_seconds": (16 + 16 + 32) / 2,
        "transfer_seconds": 2,
        "compute_seconds": 16,
        "optimizer_seconds": 4,
        "communication_seconds": 0,
    }
    assert set(times.read().values()) == {0.0}  # each value once


def test_time_before_a_restart_is_excluded(times: StepTimes, clock: Clock) -> None:
    run_step(times, clock, 1)
    clock.wait(1000)  # an evaluation
    times.restart()
    run_step(times, clock, 1)
    assert times.read()["step_seconds"] == 11.5


class Averaging(torch.autograd.Function):
    """Queues what DistributedDataParallel queues when it has the last gradient: to wait for the averages."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, clock: Clock) -> torch.Tensor:
        ctx.clock = clock
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        ctx.clock.wait(3)
        Variable._execution_engine.queue_callback(lambda: ctx.clock.wait(5))
        return gradient, None


@pytest.mark.parametrize("split", [True, False])
def test_communication_begins_after_the_last_gradient(times: StepTimes, clock: Clock, split: bool) -> None:
    weight = nn.Parameter(torch.ones(2))
    for _ in range(2):
        with times.part("compute"):
            clock.wait(2)
            loss = Averaging.apply(weight, clock).sum()
            if split:
                times.split_at_gradients(loss)
            loss.backward()
        with times.part("optimizer"):  # is not split, although the last backward pass was
            clock.wait(1)
        times.end_step()
    found = times.read()
    assert found["communication_seconds"] == (5 if split else 0)
    assert found["compute_seconds"] == (5 if split else 10)
    assert found["optimizer_seconds"] == 1
    assert weight.grad is not None


def test_values_of_several_processes() -> None:
    one = {"step_seconds": 2.0, "data_seconds": 0.0, "peak_memory_bytes": 10.0}
    other = {"step_seconds": 2.0, "data_seconds": 1.0, "peak_memory_bytes": 30.0}
    assert combined([one, other]) == {
        "step_seconds": 2.0,
        "data_seconds": 0.5,
        "peak_memory_bytes": 30.0,
        "longest_data_seconds": 1.0,
    }


@pytest.mark.slow
def test_peak_memory_of_this_process(times: StepTimes) -> None:
    before = read_times(times, World(0, 1, CPU))["peak_memory_bytes"]
    block = torch.ones(int(before) // 4 + 20_000_000)  # more than the process had
    assert read_times(times, World(0, 1, CPU))["peak_memory_bytes"] > before + 40_000_000
    del block


def test_groups_have_their_learning_rates_and_gradient_norms() -> None:
    first, second, idle = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    groups = [
        {"params": [first, second], "name": "decay", "lr": 0.5},
        {"params": [idle], "name": "", "lr": 0.25},
    ]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    first.grad, second.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    expected = {"lr/decay": 0.5, "lr/1": 0.25, "grad_norm/decay": 5.0, "grad_norm/1": 0.0}
    assert group_values(optimizer) == expected
    assert group_values(torch.optim.SGD([first], lr=1.0)) == {}


def train_one_of_two(rank: int, store: str, results: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    gradients = []
    for split in (False, True):
        torch.manual_seed(0)
        network = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, 1)))
        marks: list[float] = []
        times = StepTimes(CPU, now=lambda marks=marks: marks.append(float(len(marks))) or marks[-1])
        with times.part("compute"):
            loss = network(torch.full((4, 300), rank + 1.0)).sum()
            if split:
                times.split_at_gradients(loss)
            loss.backward()
        times.end_step()
        gradients.append([parameter.grad for parameter in network.parameters()])
        results.put((rank, split, read_times(times, World(rank, 2, CPU))))
    assert all(map(torch.equal, *gradients))
    dist.destroy_process_group()


@pytest.mark.slow
def test_distributed_gradients_are_unchanged_and_their_averaging_is_marked(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = [(rank, str(tmp_path / "store"), results) for rank in range(2)]
    processes = [context.Process(target=train_one_of_two, args=args, daemon=True) for args in arguments]
    for process in processes:
        process.start()
    for _ in range(4):
        _, split, values = results.get(timeout=60)
        assert values["compute_seconds"] == 1  # one reading of the clock before the mark, or before the end
        assert values["communication_seconds"] == int(split)
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


class Event:
    """Stands in for ``torch.cuda.Event``: a device that executes what it was asked for 100 s later."""

    made = 0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        Event.made += 1
        self.synchronized = False

    def record(self, stream: Clock) -> None:
        self.time, self.synchronized = stream.time + 100, False

    def synchronize(self) -> None:
        self.synchronized = True

    def elapsed_time(self, end: Event) -> float:
        assert end.synchronized  # otherwise torch raises
        return 1000 * (end.time - self.time)


def test_events_are_read_late_and_used_again(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: clock)
    monkeypatch.setattr(Event, "made", 0)
    times = StepTimes(torch.device("cuda", 0), now=clock)
    for _ in range(3):
        run_step(times, clock, 1)
        run_step(times, clock, 3)
        found = times.read()
        assert (found["step_seconds"], found["transfer_seconds"], found["compute_seconds"]) == (23, 2, 16)
        assert found["optimizer_seconds"] == 4
    assert Event.made == 2 * 2 * 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="runs on a machine with a GPU")
def test_a_gpu_is_measured_without_waiting_for_it() -> None:
    device = torch.device("cuda", 0)
    times = StepTimes(device)
    values = torch.ones(4096, 4096, device=device)
    with times.part("optimizer"):  # small, and asked for after the large one
        values.add_(1)
    torch.cuda.synchronize()
    times.read()
    with times.part("compute"):
        for _ in range(50):
            values = values @ values * 1e-4
    with times.part("optimizer"):
        values.add_(1)
    assert not torch.cuda.current_stream(device).query()  # the host did not wait
    times.end_step()
    found = times.read()
    assert found["compute_seconds"] > 20 * found["optimizer_seconds"] > 0


def test_a_training_run_marks_every_part_of_each_step_once(begin: Callable) -> None:
    run = begin("run")
    ticks = itertools.count().__next__  # a clock that advances by 1 when it is read
    run.trainer.train_step.times = StepTimes(torch.device("cpu"), now=ticks)
    with run.trainer.log:
        assert run.trainer.run()
    lines = [json.loads(line) for line in run.trainer.log.training_log.open()]
    assert len(lines) == 8
    for line in lines:
        once = {"data": 1, "transfer": 1, "compute": 1, "optimizer": 1, "communication": 0}
        assert {part: line[f"{part}_seconds"] for part in PARTS} == once
        assert line["step_seconds"] == 9  # the begin and end of four parts, and the end of the step


def test_a_line_of_the_log_has_the_rates_of_devices_and_groups(trained: Path) -> None:
    for line in map(json.loads, (trained / "log.jsonl").open()):
        parts = [line[f"{part}_seconds"] for part in PARTS]
        assert sum(parts) <= line["step_seconds"]
        assert line["compute_seconds"] > line["transfer_seconds"] > 0
        assert line["data_seconds"] > 0
        assert line["optimizer_seconds"] > 0
        assert line["communication_seconds"] == 0
        assert line["clips_per_second_per_device"] == line["clips_per_second"]
        assert line["lr/decay"] == line["lr"]
        assert line["grad_norm/decay"] > 0
