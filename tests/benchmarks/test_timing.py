"""Timing: order of turns, number of rounds, quartiles, new pages, and the GPU clock on a simulated GPU."""

import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest
import torch

from benchmarks import timing
from tests.conftest import ROOT


@pytest.mark.parametrize("n", range(1, 12))
def test_every_name_follows_every_other_equally_often(n: int) -> None:
    rounds = n if n % 2 == 0 else 2 * n
    orders = [timing.turn_order(range(n), number) for number in range(rounds)]
    assert all(sorted(order) == list(range(n)) for order in orders)
    followed = Counter(pair for order in orders for pair in pairwise(order))
    assert len(followed) == n * (n - 1)
    assert set(followed.values()) <= {rounds // n}


def ticking_clock(name: str, run: timing.Run, turn: int) -> float:
    """Return the number of the turn as its milliseconds."""
    run(turn)
    return float(turn)


def test_warm_up_does_not_count_and_turns_are_numbered_through() -> None:
    met: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    runs = {name: turns.append for name, turns in met.items()}
    times = timing.time_interleaved(runs, ticking_clock, rounds=4, seconds=0, warm_up=2)
    assert {name: len(taken) for name, taken in times.items()} == {"a": 4, "b": 4, "c": 4}
    assert sorted(turn for turns in met.values() for turn in turns) == list(range(18))
    assert {name: turns[2:] for name, turns in met.items()} == times


def test_rounds_continue_until_the_time_has_passed() -> None:
    times = timing.time_interleaved({"a": lambda turn: None}, ticking_clock, rounds=2, seconds=60, warm_up=1)
    assert len(times["a"]) == timing.MOST_ROUNDS


def test_a_disturbed_measurement_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*shares: float) -> tuple[list[float], float]:
        left = list(shares)
        monkeypatch.setattr(timing.OtherWork, "share", lambda work: left.pop(0))
        number = iter(range(100))

        def clock(name: str, run: timing.Run, turn: int) -> float:
            return float(next(number))

        times, share = timing.time_undisturbed({"a": lambda turn: None}, clock, rounds=1, seconds=0, warm_up=0)
        assert not left
        return times["a"], share

    assert measure(0.05) == ([0.0], 0.05)
    assert measure(0.5, 0.02) == ([1.0], 0.02)
    assert measure(0.5, 0.3, 0.4) == ([1.0], 0.3)


def test_spread() -> None:
    assert timing.spread([5.0]) == timing.Spread(5, 5, 5)
    assert timing.spread([4.0, 1.0, 2.0, 3.0, 5.0]) == timing.Spread(3, 2, 4)


FAULTS = """
import resource, sys, torch
from benchmarks.timing import set_memory
torch.set_num_threads(1)
x = torch.ones(2**20)
assert set_memory(sys.argv[1]) == sys.argv[1]
for _ in range(32):  # the heap grows until it has freed memory of the right size
    x.clone()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    x.clone()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / (8 * x.nbytes))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="runs on Linux with glibc")
@pytest.mark.skipif("MALLOC_CHECK_" in os.environ, reason="glibc's checking malloc ignores settings; runs without it")
@pytest.mark.parametrize(("kind", "new"), [("new", 1.0), ("reused", 0.0)])
def test_pages_of_new_tensors(kind: str, new: float) -> None:
    """The share of a clone's pages that are new, in a separate process, because mallopt changes the process."""
    ended = subprocess.run([sys.executable, "-c", FAULTS, kind], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(ended.stdout) == pytest.approx(new, abs=0.05)


def test_other_work_is_a_share() -> None:
    work = timing.OtherWork()
    sum(range(10**6))
    assert 0 <= work.share() <= 1


def test_the_sleep_of_the_stream_doubles_until_the_host_is_done_first(monkeypatch: pytest.MonkeyPatch) -> None:
    holds: list[int] = []

    class Event:
        """An event of a GPU whose host queues a burst within 5 times the shortest sleep; a burst takes 6 ms."""

        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None: ...

        def synchronize(self) -> None: ...

        def query(self) -> bool:
            return holds[-1] < 5 * timing.SHORTEST_HOLD

        def elapsed_time(self, end: "Event") -> float:
            return 6.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "_sleep", holds.append, raising=False)
    clock = timing.CudaClock(burst=3)
    turns: list[int] = []
    assert clock("a", turns.append, 7) == 2.0
    assert holds == [timing.SHORTEST_HOLD * factor for factor in (1, 2, 4, 8)]
    assert turns[-3:] == [21, 22, 23]
    clock("a", turns.append, 8)
    assert len(holds) == 5
    assert holds[-1] == holds[-2]
