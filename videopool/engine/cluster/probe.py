"""Before a run of several processes loads anything large, they compare what must be the same for all."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import random
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch

import videopool
from videopool.data.decoding.decode import Reading
from videopool.data.decoding.reader import DecodeError
from videopool.data.decoding.timeout import with_timeout
from videopool.data.lists.table import VideoTable
from videopool.engine.cluster.distributed import World
from videopool.errors import InputError
from videopool.types import VideoRecord

_Result = TypeVar("_Result")

VIDEOS = 10  # opened by each process
_OPEN_SECONDS = 30.0  # for all of them together
_SKEW_SECONDS = 5.0
_SMALL_MEMORY, _SMALL_DISK = 1 << 30, 1 << 30  # bytes

# What must be equal, in the order of messages, and what to do if it is not.
_EQUAL = {
    "torch": "Install the same version on all hosts.",
    "videopool": "Install the same version on all hosts.",
    "configuration": "Start all processes with the same command.",
    "training list": "Copy the same list to all hosts.",
    "test list": "Copy the same list to all hosts.",
}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What one process reports.

    Attributes:
        host: its machine.
        equal: what must be the same for all processes, under the names of messages.
        unreadable: videos that it could not open, with reasons.
        opened: how many it tried to open.
        memory, disk: free bytes of the machine, and of the file system of the run's folder; -1 if unknown.
        clock: seconds since 1970.
    """

    host: str
    equal: Mapping[str, str]
    unreadable: tuple[tuple[str, str], ...]
    opened: int
    memory: int
    disk: int
    clock: float


def together(world: World, function: Callable[[], _Result]) -> _Result:
    """Return ``function()``, which may raise ``InputError`` on some processes; then all raise it, naming the process.

    Raises:
        InputError: the one of the first process that raised it, on all processes.
    """
    if world.size == 1:
        return function()
    failure, result = None, None
    try:
        result = function()
    except InputError as error:
        failure = (str(error), error.setting)
    failures = world.gather((world.host, failure))
    raised = [(rank, host, *error) for rank, (host, error) in enumerate(failures) if error]
    if not raised:
        return result  # type: ignore[return-value]
    rank, host, message, setting = raised[0]
    if len(raised) == world.size and len({error[2] for error in raised}) == 1:
        raise InputError(message, setting=setting)
    others = f" and {len(raised) - 1} more of {world.size} processes" if len(raised) > 1 else ""
    dot = "" if message.endswith(".") else "."
    raise InputError(f"{message}{dot} This is on process {rank} ({host}){others}.", setting=setting)


def collect(equal: Mapping[str, str], videos: VideoTable, reading: Reading, out: Path, *, seed: int) -> Facts:
    """Return the facts of this process.

    Args:
        equal: see ``Facts``; the versions of torch and videopool are added.
        videos: of the training list.
        reading: how they are read.
        out: folder of the run.
        seed: chooses the videos to open; different in each process.
    """
    code = f"{videopool.__version__} (source {hash_of_source(Path(videopool.__file__).parent)})"
    unreadable, opened = open_some(videos, reading, seed)
    return Facts(
        host=socket.gethostname(),
        equal={"torch": torch.__version__, "videopool": code, **equal},
        unreadable=unreadable,
        opened=opened,
        memory=_free_memory(),
        disk=_free_disk(out),
        clock=time.time(),
    )


def check_facts(facts: Sequence[Facts]) -> list[str]:
    """Return warnings about the processes, whose ``facts`` are in rank order.

    Raises:
        InputError: naming what differs, or the process that cannot read most of the videos that it tried.
    """
    for name, remedy in _EQUAL.items():
        values = [fact.equal.get(name, "") for fact in facts]
        usual = Counter(values).most_common(1)[0][0]
        others = [rank for rank, value in enumerate(values) if value != usual]
        if others:
            rank, same = others[0], values.index(usual)
            raise InputError(
                f"The {name} of {_names(facts, others)} differs from that of process {same} ({facts[same].host}): "
                f"{values[rank]} instead of {usual}. {remedy}"
            )
    blind = [rank for rank, fact in enumerate(facts) if 2 * len(fact.unreadable) > fact.opened]
    if blind:
        fact = facts[blind[0]]
        path, reason = fact.unreadable[0]
        raise InputError(
            f"{_names(facts, blind)} cannot read {len(fact.unreadable)} of {fact.opened} training videos, such as "
            f"{path}: {reason}. Check data.root on {fact.host}."
        )
    return [*_skew(facts), *_shortages(facts)]


def _names(facts: Sequence[Facts], ranks: Sequence[int]) -> str:
    """Return ``process 1 (b)``, or ``processes 1 (b), 3 (c) and 2 more``."""
    named = ", ".join(f"{rank} ({facts[rank].host})" for rank in ranks[:4])
    more = f" and {len(ranks) - 4} more" if len(ranks) > 4 else ""
    return f"process{'es' * (len(ranks) > 1)} {named}{more}"


def _skew(facts: Sequence[Facts]) -> list[str]:
    clocks = [fact.clock for fact in facts]
    middle = sorted(clocks)[len(clocks) // 2]
    worst = max(range(len(facts)), key=lambda rank: abs(clocks[rank] - middle))
    skew = clocks[worst] - middle
    if abs(skew) <= _SKEW_SECONDS:
        return []
    way = "ahead of" if skew > 0 else "behind"
    return [
        f"the clock of {facts[worst].host} is {abs(skew):.0f} s {way} that of other hosts; times in their logs differ "
        "by this much"
    ]


def _shortages(facts: Sequence[Facts]) -> list[str]:
    found = {}
    for fact in facts:
        if 0 <= fact.memory < _SMALL_MEMORY:
            found[fact.host, "memory"] = f"{fact.host} has only {fact.memory >> 20} MiB of free memory"
    if 0 <= facts[0].disk < _SMALL_DISK:  # the process of rank 0 writes the checkpoints
        found["", "disk"] = f"the disk of the run's folder has only {facts[0].disk >> 20} MiB of free space"
    return [*found.values()]


def open_some(videos: VideoTable, reading: Reading, seed: int) -> tuple[tuple[tuple[str, str], ...], int]:
    """Open ``VIDEOS`` random videos. Return those that could not be opened, with reasons, and how many were tried."""
    chosen = random.Random(seed).sample(range(len(videos)), min(VIDEOS, len(videos)))
    until = time.monotonic() + _OPEN_SECONDS
    bad = []
    for index in chosen:
        record = videos[index]
        try:
            left = max(0.1, until - time.monotonic())
            with_timeout(functools.partial(_open, reading, record), path=record.path, seconds=left)
        except DecodeError as error:
            bad.append((str(error.path), error.reason))
        except OSError as error:
            bad.append((str(record.path), error.strerror or str(error)))
    return tuple(bad), len(chosen)


def hash_of_table(videos: VideoTable) -> str:
    """Return a digest of the paths, classes and times of a list."""
    digest = hashlib.sha256()
    for name in sorted(videos.columns):
        digest.update(name.encode())
        digest.update(videos.columns[name].tobytes())
    return digest.hexdigest()[:12]


def hash_of_source(folder: Path) -> str:
    """Return a digest of the Python files in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _open(reading: Reading, record: VideoRecord) -> None:
    with reading.open(record):
        pass


def _free_memory() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return -1
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), -1)


def _free_disk(folder: Path) -> int:
    """Return the free bytes where ``folder`` is, or will be."""
    there = next((path for path in (folder, *folder.absolute().parents) if path.is_dir()), Path("/"))
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return -1
