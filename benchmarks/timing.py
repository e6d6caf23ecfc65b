"""Times of runs that take turns in one process, and what a result must say about the machine that gave it."""

from __future__ import annotations

import ctypes
import os
import platform
import statistics
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

Name = TypeVar("Name", bound=Hashable)
Run = Callable[[int], object]  # is given the number of its turn, by which it chooses its inputs
Clock = Callable[[Hashable, Run, int], float]  # milliseconds of the run of that name at that turn

MOST_ROUNDS = 100
MOST_ATTEMPTS, MOST_OTHERS = 3, 0.1
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of glibc's mallopt
MALLOC_SETTINGS = {
    "new": {_MMAP_THRESHOLD: 2**20, _TRIM_THRESHOLD: 2**26},
    "reused": {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1},
    "malloc": {},
}
SHORTEST_HOLD, LONGEST_HOLD = 2**17, 2**28  # clock cycles of a GPU, about 0.1 ms and 0.1 s


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of a time in milliseconds."""

    median_ms: float
    low_ms: float
    high_ms: float


def spread(times: Sequence[float]) -> Spread:
    """Median and quartiles of one or more times in milliseconds."""
    if len(times) == 1:
        return Spread(times[0], times[0], times[0])
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return Spread(middle, low, high)


def turn_order(names: Sequence[Name], number: int) -> list[Name]:
    """The order of round ``number``: rows of a Williams design, in which everybody follows everybody equally often.

    It is complete after n rounds for an even number n of names, after 2 n for an odd one.
    Source: E. J. Williams, Experimental designs balanced for the estimation of residual effects of treatments, 1949.
    """
    n = len(names)
    zigzag = [(i + 1) // 2 if i % 2 else n - i // 2 for i in range(n)]  # 0, 1, n-1, 2, n-2, ...
    order = [names[(place + number) % n] for place in zigzag]
    return order[::-1] if n % 2 and number // n % 2 else order


def interleaved(
    runs: dict[Name, Run], clock: Clock, *, rounds: int, seconds: float, warm_up: int
) -> dict[Name, list[float]]:
    """Milliseconds of each run in every round.

    After ``warm_up`` rounds that do not count come at least ``rounds``, and more until ``seconds`` are over or there
    are MOST_ROUNDS. Turns are counted over all runs, so that a run never meets the inputs of the run before it.
    """
    names = list(runs)
    times: dict[Name, list[float]] = {name: [] for name in names}
    turn = 0
    for number in range(warm_up + max(rounds, MOST_ROUNDS)):
        if number == warm_up:
            begin = time.perf_counter()
        if number >= warm_up + rounds and time.perf_counter() - begin >= seconds:
            break
        for name in turn_order(names, number):
            taken = clock(name, runs[name], turn)
            turn += 1
            if number >= warm_up:
                times[name].append(taken)
    return times


def undisturbed(
    runs: dict[Name, Run], clock: Clock, *, rounds: int, seconds: float, warm_up: int
) -> tuple[dict[Name, list[float]], float]:
    """:func:`interleaved`, and the share of the processors' time that other processes took meanwhile.

    Where that is more than MOST_OTHERS, all is measured again, whatever the times are; the least disturbed of at most
    MOST_ATTEMPTS counts.
    """
    attempts: list[tuple[dict[Name, list[float]], float]] = []
    while len(attempts) < MOST_ATTEMPTS and (not attempts or attempts[-1][1] > MOST_OTHERS):
        others = OtherWork()
        times = interleaved(runs, clock, rounds=rounds, seconds=seconds, warm_up=warm_up)
        attempts.append((times, others.share()))
    return min(attempts, key=lambda attempt: attempt[1])


def set_memory(kind: str) -> str:
    """Decides where tensors on the CPU find their memory from now on, and returns the kind in effect.

    ``new``: above 1 MiB in new pages of the system, as in a training step, whose activations are freed together.
    ``reused``: in pages that were used before, as with an allocator that keeps them (jemalloc, tcmalloc).
    ``malloc``: as glibc's malloc sees fit, by what was freed before: the same x.clone() took 3 or 15 ms. With another
    library of C, that is in effect.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return "malloc"
    for parameter, value in MALLOC_SETTINGS[kind].items():
        libc.mallopt(parameter, value)
    return kind


def cpu_clock(name: Hashable, run: Run, turn: int) -> float:
    """Milliseconds until the run is done and its results are freed."""
    begin = time.perf_counter()
    run(turn)
    return (time.perf_counter() - begin) * 1e3


class CudaClock:
    """Milliseconds of GPU time of one run, from ``burst`` runs in a row between two events.

    The stream is held back until the host has queued the burst, so that the time of launching does not count. How long
    that takes is found by doubling: a GPU that reached the first event before the host was done waited for the host.
    """

    def __init__(self, burst: int) -> None:
        self._burst = burst
        self._holds: dict[Hashable, int] = {}

    def __call__(self, name: Hashable, run: Run, turn: int) -> float:
        while True:
            hold = self._holds.setdefault(name, SHORTEST_HOLD)
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda._sleep(hold)
            begin.record()
            for number in range(self._burst):
                run(turn * self._burst + number)
            waited = begin.query()
            end.record()
            end.synchronize()
            if not waited or hold >= LONGEST_HOLD:
                return begin.elapsed_time(end) / self._burst
            self._holds[name] = 2 * hold


@dataclass(frozen=True)
class Machine:
    """Where a result was measured. Results of different machines are never put into one table."""

    hardware: str
    threads: int
    torch: str
    huge_pages: str
    wait_policy: str
    memory: str
    cache_bytes: int


def this_machine(device: torch.device, memory: str) -> Machine:
    """The processor or GPU in use, and the settings that its speed depends on; ``memory`` as set_memory gave it."""
    cuda = device.type == "cuda"
    return Machine(
        hardware=torch.cuda.get_device_name(device) if cuda else _processor(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        huge_pages=_huge_pages(),
        wait_policy=os.environ.get("OMP_WAIT_POLICY", "unset"),
        memory=memory,
        cache_bytes=torch.cuda.get_device_properties(device).L2_cache_size if cuda else _last_level_cache(),
    )


def free_bytes(device: torch.device) -> int:
    """Memory that a benchmark may fill: what is free now on the GPU, or available to a new process."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    fields = dict(line.split(":") for line in meminfo.read_text().splitlines()) if meminfo.exists() else {}
    return int(fields.get("MemAvailable", "4194304 kB").split()[0]) * 1024


class OtherWork:
    """The share of the machine's processor time that other processes took since this was made.

    A team of threads waits for its last one: with a core taken away, an operation of 0.05 ms takes a time slice of the
    scheduler, some milliseconds, whatever the kernel. Such results look steady and mean nothing.
    """

    def __init__(self) -> None:
        self._begin = time.perf_counter()
        self._others = self._seconds()

    def share(self) -> float:
        """0 for a machine of our own, towards 1; 0 where the system does not say."""
        span = (time.perf_counter() - self._begin) * (os.cpu_count() or 1)
        return min(max((self._seconds() - self._others) / span, 0.0), 1.0)

    @staticmethod
    def _seconds() -> float:
        """Processor seconds of all but this process, with those that the host of a virtual machine took away."""
        stat = Path("/proc/stat")
        if not stat.exists():
            return 0.0
        user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
        own = os.times()
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return busy - own.user - own.system - own.children_user - own.children_system


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _huge_pages() -> str:
    """The chosen word of Linux (always, madvise or never), and whether videopool was told to ask for them."""
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    word = setting.read_text().partition("[")[2].partition("]")[0] if setting.exists() else "unknown"
    return f"{word} (VIDEOPOOL_HUGE_PAGES {os.environ.get('VIDEOPOOL_HUGE_PAGES', 'unset')})"


def _last_level_cache() -> int:
    """Bytes of the largest cache of the first core; 32 MiB where the system does not say."""
    sizes = [path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    units = {"K": 2**10, "M": 2**20}
    return max((int(size[:-1]) * units[size[-1]] for size in sizes if size[-1:] in units), default=32 * 2**20)
