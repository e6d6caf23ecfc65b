"""The processes of a run find each other through a key-value store, before any process group exists.

The store stays open during the run: processes publish their position and the reason of their end in it
(``engine.cluster.hang``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta

from torch.distributed import DistError, DistNetworkError, PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from videopool.engine.cluster.bounded import bounded
from videopool.engine.cluster.launch import Launch
from videopool.errors import InputError

_POLL_SECONDS = 0.05
_LINGER_SECONDS = 3.0
_OTHER_PROGRAM = "another program answers there"


@dataclasses.dataclass(frozen=True)
class Peers:
    """The processes of a run, as each has described itself.

    Attributes:
        launch: the position of this process.
        store: its keys belong to this start of the run.
        hosts: the machine of each process, in rank order.
        about: what each process reported about itself, in rank order.
    """

    launch: Launch
    store: Store
    hosts: tuple[str, ...]
    about: tuple[Mapping[str, str], ...]

    def name(self, rank: int) -> str:
        """Return a process as messages name it: ``process 3 (node02)``."""
        return f"process {rank} ({self.hosts[rank]})"

    def clone(self) -> Peers:
        """Return a copy with another connection to the store, for use in another thread."""
        return dataclasses.replace(self, store=self.store.clone())  # type: ignore[attr-defined]

    def keys(self, name: str) -> Store:
        """Return a store for keys under ``name``."""
        return PrefixStore(name, self.store)

    def first_on_host(self, text: str) -> bool:
        """Return True for the first process of this machine that asks with this ``text``."""
        return self.store.add(f"reported/{self.hosts[self.launch.rank]}/{text}", 1) == 1


def meet(launch: Launch, seconds: float, about: Mapping[str, str]) -> Peers:
    """Wait until all processes of the run have arrived, and return them.

    Args:
        launch: the position of this process.
        seconds: how long to wait.
        about: what the others should know about this process.

    Raises:
        InputError: naming the processes that did not arrive, or the address that cannot be reached.
    """
    until = time.monotonic() + seconds
    store = PrefixStore("videopool", _open_store(launch, seconds, until))
    record = json.dumps({"host": socket.gethostname(), "pid": str(os.getpid()), **about})
    with _store_errors(launch):
        gather = _answer_and_gather if launch.rank == 0 else _ask_and_gather
        found, arrived = gather(launch, store, record, until)
        missing = [rank for rank in range(launch.size) if rank not in arrived]
        if missing:
            message = missing_sentence(launch, missing, {r: a["host"] for r, a in arrived.items()}, seconds)
            if launch.rank == 0:
                _fail(found, message, launch)
            raise InputError(message)
    records = tuple(arrived[rank] for rank in range(launch.size))
    return Peers(launch, found, tuple(record["host"] for record in records), records)


def keep_store(launch: Launch, seconds: float = _LINGER_SECONDS) -> None:
    """Keep the store open before an error ends this process, if it serves the store: the others read the reason."""
    if launch.serves:
        time.sleep(seconds)


def missing_sentence(launch: Launch, missing: Sequence[int], hosts: Mapping[int, str], seconds: float) -> str:
    """Return who did not arrive. ``hosts`` are those of the processes that did; torchrun numbers host by host."""
    names = []
    for rank in missing:
        first = rank - rank % launch.local_size
        near = [hosts[other] for other in range(first, first + launch.local_size) if other in hosts]
        names.append(f"{rank} ({near[0]})" if near and launch.launcher == "torchrun" else str(rank))
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    on = ", ".join(sorted(set(hosts.values()))[:8])
    return (
        f"Process{'es' * (len(missing) > 1)} {listed} of {launch.size} did not start within {seconds:g} s; the others "
        f"are on {on}. Check the output of the missing processes, or raise train.start_timeout."
    )


def _open_store(launch: Launch, seconds: float, until: float) -> TCPStore:
    """Return a client of the store; the process of rank 0 also opens the store, unless torchrun has."""
    if not launch.serves:
        _wait_for_port(launch, seconds, until)
    address = "localhost" if launch.serves else launch.address
    left = max(1.0, until - time.monotonic())

    def connect() -> TCPStore:
        limit = timedelta(seconds=left)
        return TCPStore(address, launch.port, None, launch.serves, timeout=limit, wait_for_workers=False)

    try:
        store = bounded(connect, left + 1)  # never returns if a program accepts connections there and says nothing
    except TimeoutError as error:
        raise InputError(_unreachable(launch, seconds, _OTHER_PROGRAM)) from error
    except DistNetworkError as error:
        if "EADDRINUSE" in str(error):
            raise InputError(
                f"Port {launch.port} of {socket.gethostname()}, where the processes meet, is in use. Set MASTER_PORT "
                "to a free port."
            ) from error
        reason = _OTHER_PROGRAM if "invalid value" in str(error) else ""
        raise InputError(_unreachable(launch, seconds, reason)) from error
    store.set_timeout(timedelta(seconds=seconds))
    return store


def _wait_for_port(launch: Launch, seconds: float, until: float) -> None:
    """Return when something listens. torch would print a page of warnings while it waits."""
    while True:
        left = until - time.monotonic()
        try:
            socket.create_connection((launch.address, launch.port), timeout=max(0.1, left)).close()
            return
        except OSError as error:
            if left <= 0:
                raise InputError(_unreachable(launch, seconds, error.strerror or str(error))) from error
            time.sleep(min(0.3, left))


def _unreachable(launch: Launch, seconds: float, reason: str) -> str:
    shown = f" ({reason})" if reason else ""
    return (
        f"Process {launch.rank} on {socket.gethostname()} could not reach {launch.address}:{launch.port}, where the "
        f"processes meet, within {seconds:g} s{shown}. Check MASTER_ADDR and MASTER_PORT, that the first process "
        "runs there, and that no firewall blocks the port."
    )


@contextlib.contextmanager
def _store_errors(launch: Launch) -> Iterator[None]:
    try:
        yield
    except DistError as error:
        raise InputError(
            f"Process {launch.rank} on {socket.gethostname()} lost {launch.address}:{launch.port}, where the processes "
            "meet, during the start. See the output of the first process."
        ) from error


# The store of torchrun outlives its workers, so keys of an earlier attempt may still be there. The first process
# chooses a new name for each start; the others ask for it with a random question, which it repeats in its answer.

_Arrived = dict[int, dict[str, str]]


def _answer_and_gather(launch: Launch, store: Store, record: str, until: float) -> tuple[Store, _Arrived]:
    name = uuid.uuid4().hex
    found = PrefixStore(name, store)
    found.set("0", record)
    answered: dict[int, bytes] = {}

    def answer() -> None:
        for rank in range(1, launch.size):
            key = f"question/{rank}"
            if store.check([key]):
                question = store.get(key)
                if answered.get(rank) != question:
                    store.set(f"answer/{rank}", f"{question.decode()} {name}")
                    answered[rank] = question

    return found, _gather(launch, found, until, answer)


def _ask_and_gather(launch: Launch, store: Store, record: str, until: float) -> tuple[Store, _Arrived]:
    question, key = uuid.uuid4().hex, f"answer/{launch.rank}"
    store.set(f"question/{launch.rank}", question)
    while time.monotonic() < until:
        asked, _, name = store.get(key).decode().partition(" ") if store.check([key]) else ("", "", "")
        if asked == question:
            found = PrefixStore(name, store)
            found.set(str(launch.rank), record)
            return found, _gather(launch, found, until, lambda: None)
        time.sleep(_POLL_SECONDS)
    raise InputError(
        f"Process 0 of {launch.size} did not start in time; process {launch.rank} on {socket.gethostname()} waits for "
        "it. Check its output, or raise train.start_timeout."
    )


def _gather(launch: Launch, found: Store, until: float, meanwhile: Callable[[], None]) -> _Arrived:
    """Return the records that have arrived when all have, or when the time is over."""
    waiting = {str(rank) for rank in range(launch.size)}
    while True:
        meanwhile()
        waiting = {key for key in waiting if not found.check([key])}
        if found.check(["failed"]):
            raise InputError(found.get("failed").decode())
        if not waiting or time.monotonic() > until:
            arrived = [key for key in map(str, range(launch.size)) if key not in waiting]
            return {int(key): json.loads(found.get(key)) for key in arrived}
        time.sleep(_POLL_SECONDS)


def _fail(found: Store, message: str, launch: Launch) -> None:
    """Publish why the run ends, for the processes that did arrive."""
    found.set("failed", message)
    keep_store(launch)
