"""Time several functions that take turns in one process, and describe the machine that they run on."""

from __future__ import annotations

import argparse
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

from videopool.files import atomic_write

Name = TypeVar("Name", bound=Hashable)
Run = Callable[[int], object]  # takes the number of its turn, by which it chooses its inputs
Clock = Callable[[Hashable, Run, int], float]  # returns the milliseconds of the named run at a turn

MOST_ROUNDS = 100
MOST_ATTEMPTS, MOST_OTHERS = 3, 0.1
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # parameters of glibc's mallopt
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
    """Return the median and quartiles of one or more times in milliseconds."""
    if len(times) == 1:
        return Spread(times[0], times[0], times[0])
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return Spread(middle, low, high)


def turn_order(names: Sequence[Name], number: int) -> list[Name]:
    """Return the order of round ``number``, a row of a Williams design: every name follows every other equally often.

    The design is complete after n rounds for an even number n of names, and after 2 n rounds for an odd one.
    Source: E. J. Williams, Experimental designs balanced for the estimation of residual effects of treatments, 1949.
    """
    n = len(names)
    zigzag = [(i + 1) // 2 if i % 2 else n - i // 2 for i in range(n)]  # 0, 1, n-1, 2, n-2, ...
    order = [names[(place + number) % n] for place in zigzag]
    return order[::-1] if n % 2 and number // n % 2 else order


def time_interleaved(
    runs: dict[Name, Run], clock: Clock, *, rounds: int, seconds: float, warm_up: int
) -> dict[Name, list[float]]:
    """Return the milliseconds of each run in every round.

    The first ``warm_up`` rounds do not count. At least ``rounds`` rounds follow, and more until ``seconds`` have passed
    or MOST_ROUNDS are done. Turns are counted over all runs, so that a run never gets the inputs of the run before it.
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


def time_undisturbed(
    runs: dict[Name, Run], clock: Clock, *, rounds: int, seconds: float, warm_up: int
) -> tuple[dict[Name, list[float]], float]:
    """Return :func:`time_interleaved` and the share of processor time that other processes used during it.

    If that share exceeds MOST_OTHERS, the measurement is repeated. The result is the least
    disturbed of at most MOST_ATTEMPTS measurements.
    """
    attempts: list[tuple[dict[Name, list[float]], float]] = []
    while len(attempts) < MOST_ATTEMPTS and (not attempts or attempts[-1][1] > MOST_OTHERS):
        others = OtherWork()
        times = time_interleaved(runs, clock, rounds=rounds, seconds=seconds, warm_up=warm_up)
        attempts.append((times, others.share()))
    return min(attempts, key=lambda attempt: attempt[1])


def add_page_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--to FILE.md``."""
    parser.add_argument("--to", type=Path, metavar="FILE.md", help="write the results to this Markdown file")


def write_page(lines: Sequence[str], to: Path | None) -> None:
    """Write the lines of a page of results to the file ``to``, as a whole or not at all; do nothing for None."""
    if to is not None:
        with atomic_write(to) as temporary:
            temporary.write_text("\n".join(lines).rstrip("\n") + "\n", encoding="utf-8")


def set_memory(kind: str) -> str:
    """Set how CPU tensors get their memory from now on, and return the setting in effect.

    ``new``: tensors above 1 MiB get new pages from the system, as in a training step, whose activations are freed
    together. ``reused``: tensors get pages that were used before, as with an allocator that keeps them (jemalloc,
    tcmalloc). ``malloc``: glibc decides, depending on what was freed before; the same x.clone() took 3 or 15 ms. C
    libraries other than glibc always use ``malloc``.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return "malloc"
    for parameter, value in MALLOC_SETTINGS[kind].items():
        libc.mallopt(parameter, value)
    return kind


def cpu_clock(name: Hashable, run: Run, turn: int) -> float:
    """Return the milliseconds until the run is done and its results are freed."""
    begin = time.perf_counter()
    run(turn)
    return (time.perf_counter() - begin) * 1e3


class CudaClock:
    """Measures the GPU milliseconds of one run, from ``burst`` consecutive runs between two events.

    The stream sleeps until the host has queued the burst, so that launch time does not count. The sleep is doubled
    until it is long enough: if the GPU reaches the first event before the host has queued all runs, it was too short.
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
    """The machine and settings of a result. Results of different machines are never merged into one table."""

    hardware: str
    threads: int
    torch: str
    huge_pages: str
    wait_policy: str
    memory: str
    cache_bytes: int


def this_machine(device: torch.device, memory: str) -> Machine:
    """Describe the processor or GPU in use and the settings that affect its speed.

    Args:
        memory: the return value of :func:`set_memory`.
    """
    cuda = device.type == "cuda"
    return Machine(
        hardware=torch.cuda.get_device_name(device) if cuda else processor_name(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        huge_pages=_huge_pages(),
        wait_policy=os.environ.get("OMP_WAIT_POLICY", "unset"),
        memory=memory,
        cache_bytes=torch.cuda.get_device_properties(device).L2_cache_size if cuda else _last_level_cache(),
    )


def free_bytes(device: torch.device) -> int:
    """Return the bytes that a benchmark may fill: free on the GPU, or available to a new process."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    fields = dict(line.split(":") for line in meminfo.read_text().splitlines()) if meminfo.exists() else {}
    return int(fields.get("MemAvailable", "4194304 kB").split()[0]) * 1024


class OtherWork:
    """Measures the share of processor time that other processes use, from its creation on.

    A team of threads waits for its last thread: if another process takes a core, an operation of 0.05 ms takes a time
    slice of the scheduler, some milliseconds, with any kernel. Such results look steady but mean nothing.
    """

    def __init__(self) -> None:
        self._begin = time.perf_counter()
        self._others = self._seconds()

    def share(self) -> float:
        """Return the share, from 0 (no other work) to 1; 0 if the system does not report it."""
        span = (time.perf_counter() - self._begin) * (os.cpu_count() or 1)
        return min(max((self._seconds() - self._others) / span, 0.0), 1.0)

    @staticmethod
    def _seconds() -> float:
        """Return the processor seconds of all other processes, with the time that a virtual machine's host took."""
        stat = Path("/proc/stat")
        if not stat.exists():
            return 0.0
        user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
        own = os.times()
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return busy - own.user - own.system - own.children_user - own.children_system


def processor_name() -> str:
    """Return the name of the CPU."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _huge_pages() -> str:
    """Return the setting of Linux (always, madvise or never) and that of VIDEOPOOL_HUGE_PAGES."""
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    word = setting.read_text().partition("[")[2].partition("]")[0] if setting.exists() else "unknown"
    return f"{word} (VIDEOPOOL_HUGE_PAGES {os.environ.get('VIDEOPOOL_HUGE_PAGES', 'unset')})"


def _last_level_cache() -> int:
    """Return the bytes of the largest cache of the first core; 32 MiB if the system does not report it."""
    sizes = [path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    units = {"K": 2**10, "M": 2**20}
    return max((int(size[:-1]) * units[size[-1]] for size in sizes if size[-1:] in units), default=32 * 2**20)
