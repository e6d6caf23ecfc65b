"""A run of several processes ends when one of them hangs, and says which.

A collective operation waits for the slowest process, so a process that hangs stops all others, and its timeout names
none of them. ``Watch`` lets each process publish its position every few seconds from a thread, which compares them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import json
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Mapping, Sequence
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING

from torch.distributed import DistError  # type: ignore[attr-defined]

from videopool.engine.cluster.bounded import bounded
from videopool.engine.cluster.rendezvous import Peers, keep_store
from videopool.engine.cluster.reporting import report_error
from videopool.errors import InputError

if TYPE_CHECKING:
    from videopool.engine.trainer import Trainer

_PACKAGE = Path(__file__).resolve().parents[2]
# A main thread in these files waits for other processes: collective operations, and the backward pass, which contains
# those of DistributedDataParallel.
_WAITING = ("torch/distributed/", "torch/nn/parallel/", "torch/autograd/graph.py")
_LOST = ("gloo", "NCCL", "Connection closed", "Connection reset", "store")


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a process is.

    Attributes:
        beats: how often the process has published its position; 0: never.
        step: steps begun.
        stage: what it does, such as ``"computing step 7"``.
        order: number of the stage within the step; a process with a smaller number is earlier in the step.
        line: the innermost line of videopool that its main thread runs.
        waits: whether the main thread waits for other processes.
    """

    beats: int
    step: int
    stage: str
    order: int
    line: str
    waits: bool


_UNPUBLISHED = Position(0, 0, "starting", 0, "", False)


class Watch:
    """Ends the run if a process makes no progress for ``timeout`` seconds, in a ``with`` block around its work.

    Each step of a trainer (``follow``) and each evaluated video (``evaluated``) is progress. With one process it does
    nothing.

    Args:
        peers: the processes of the run; None: one process.
        folder: every process writes the stacks of its threads to ``hang-rank3.txt`` in it.
        timeout: seconds without progress after which collective operations fail. The watch acts a little earlier.
    """

    def __init__(self, peers: Peers | None, folder: Path, timeout: float) -> None:
        self._peers, self._folder, self._timeout = peers, folder, timeout
        self._limit = timeout - min(30.0, timeout / 4)
        self._interval = min(1.0, timeout / 50)  # naming the process takes eight of them, within the margin
        self._step, self._order, self._stage = 0, 0, "preparing the run"
        self._progress = time.monotonic()
        self._beats, self._parent = 0, os.getppid()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hang watch", daemon=True)

    def __enter__(self) -> Watch:
        if self._peers is not None:
            with contextlib.suppress(DistError):
                self._publish(self._peers)  # the thread may not run for seconds on a busy machine
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._peers is None:
            return
        if isinstance(error, RuntimeError) and any(word in str(error) for word in _LOST):
            self._explain(self._peers)  # does not return if another process has ended
        self._done.set()
        self._thread.join(5 * self._interval)
        code = 0 if error is None else 2 if isinstance(error, InputError) else 1
        launch = self._peers.launch
        store = self._peers.store
        with contextlib.suppress(DistError, TimeoutError):
            bounded(lambda: store.set(f"ended/{launch.rank}", str(code)), 5 * self._interval)
        if code:
            keep_store(launch, 3 * self._interval)

    def follow(self, trainer: Trainer) -> None:
        """Take the steps of ``trainer`` as progress, if there are several processes."""
        if self._peers is not None:
            self._note(trainer.step + 1, 1, f"before step {trainer.step + 1}")
            trainer.train_step.hooks.append(self)

    def before_step(self, step: int) -> None:
        """Note that the clips of ``step`` are on their device."""
        self._note(step, 2, f"computing step {step}")

    def after_step(self, step: int) -> None:
        """Note that ``step`` has changed the weights."""
        self._note(step + 1, 1, f"before step {step + 1}")

    def evaluated(self, videos: int) -> None:
        """Note that ``videos`` videos have been evaluated."""
        after = f" after step {self._step - 1}" if self._step else ""  # without a trainer there are no steps
        self._note(self._step, 1, f"evaluating{after}, {videos} videos done")

    def _note(self, step: int, order: int, stage: str) -> None:
        self._step, self._order, self._stage = step, order, stage
        self._progress = time.monotonic()

    def _run(self) -> None:
        assert self._peers is not None
        with contextlib.suppress(DistError):  # the machine of the store is gone: collective operations will fail too
            watched = self._peers.clone()
            last = time.monotonic()
            while not self._done.wait(self._interval):
                now = time.monotonic()
                if now - last > self._limit / 2:  # the whole job was suspended
                    self._progress = now
                last = now
                self._end_without_parent(watched)
                self._publish(watched)
                if time.monotonic() - self._progress > self._limit:
                    watched.store.set("hang", "1")
                if watched.store.check(["hang"]):
                    self._end(watched)

    def _end_without_parent(self, peers: Peers) -> None:
        """End this process if torchrun, which started it, has been killed: nothing else would end it."""
        if peers.launch.launcher == "torchrun" and os.getppid() != self._parent:
            report_error(f"torchrun ended on {peers.hosts[peers.launch.rank]}. Start it again to resume.", peers)
            end_now(1)

    def _publish(self, peers: Peers) -> None:
        self._beats += 1
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        position = Position(self._beats, self._step, self._stage, self._order, *where(frame))
        peers.store.set(f"position/{peers.launch.rank}", json.dumps(dataclasses.asdict(position)))

    def _end(self, peers: Peers) -> None:
        """Write the stacks, name the process at fault, and end this process and its children."""
        rank, idle = peers.launch.rank, time.monotonic() - self._progress
        with contextlib.suppress(OSError):
            write_stacks(self._folder / f"hang-rank{rank}.txt", f"{peers.name(rank)}: {self._stage} for {idle:.0f} s")
        before = self._observe(peers)
        culprits = find_culprits(before, self._observe(peers))
        report_error(
            f"the run makes no progress for {self._limit:.0f} s: {describe(peers, culprits)}. The stacks of the "
            f"processes are in {self._folder}/hang-rank*.txt. Run the same command again to resume; raise "
            f"train.timeout (now {self._timeout:g}) if this step takes longer.",
            peers,
        )
        kill_silent(peers, [rank for rank, position in culprits.items() if position is None])
        end_now(1)

    def _observe(self, peers: Peers) -> dict[int, Position]:
        """Return the positions after a few publications."""
        for _ in range(4):
            time.sleep(self._interval)
            self._publish(peers)
        return read_positions(peers)

    def _explain(self, peers: Peers) -> None:
        """Explain a failed collective operation and end, if another process has ended or disappeared."""
        try:
            code, gone = bounded(lambda: self._find_ended(peers), 20 * self._interval)
        except (DistError, TimeoutError):  # the store is gone
            launch = peers.launch
            lost = f"torchrun at {launch.address}" if launch.agent_store else peers.name(0)
            report_error(
                f"{peers.name(launch.rank)} lost the connection to {lost}. That process, its machine or the network "
                "failed. Run the same command again to resume.",
                peers,
            )
            raise SystemExit(1) from None
        if gone:
            report_error(
                f"{describe(peers, dict.fromkeys(gone))}. It was killed, possibly because memory ran out, or its "
                "machine failed. Run the same command again to resume.",
                peers,
            )
        if code:
            keep_store(peers.launch, 3 * self._interval)
            raise SystemExit(code) from None

    def _find_ended(self, peers: Peers) -> tuple[int, list[int]]:
        """Wait a little for another process to report that it has failed.

        Return its exit code (0: no process failed; 1: processes have disappeared), and the processes that have.
        """
        # The last publication of a process may arrive after its end, so that only a second observation finds it silent.
        for _ in range(2):
            before = read_positions(peers)
            until = time.monotonic() + 5 * self._interval  # a process that lives publishes several times in this time
            while time.monotonic() < until:
                code = max(_ended(peers).values(), default=0)
                if code:
                    return code, []
                time.sleep(self._interval / 5)
            known = {peers.launch.rank, *_ended(peers)}
            gone = [rank for rank in silent(before, read_positions(peers)) if rank not in known]
            if gone:
                return 1, gone
        return 0, []


def where(frame: types.FrameType | None) -> tuple[str, bool]:
    """Return the innermost line of videopool above a frame, and whether the frame waits for other processes."""
    line, waits = "", False
    while frame is not None and not line:
        name = frame.f_code.co_filename
        waits = waits or any(part in name for part in _WAITING)
        if name.startswith(f"{_PACKAGE}{os.sep}"):
            line = f"{Path(name).relative_to(_PACKAGE.parent)}:{frame.f_lineno}, {frame.f_code.co_name}"
        frame = frame.f_back
    return line, waits


def read_positions(peers: Peers) -> dict[int, Position]:
    """Return the last published position of each process, with 0 beats for those that have not published any."""
    found = dict.fromkeys(range(peers.launch.size), _UNPUBLISHED)
    for rank in found:
        if peers.store.check([f"position/{rank}"]):
            found[rank] = Position(**json.loads(peers.store.get(f"position/{rank}")))
    return found


def silent(before: Mapping[int, Position], after: Mapping[int, Position]) -> list[int]:
    """Return the processes that have published nothing between two observations."""
    return [rank for rank in after if after[rank].beats == before[rank].beats]


def find_culprits(before: Mapping[int, Position], after: Mapping[int, Position]) -> dict[int, Position | None]:
    """Return the processes that the others wait for, with their positions; None for those that do not respond.

    They are the first of these groups that is not empty: those that publish nothing; those that are not as far as
    others; those that do not wait for others; all.
    """
    stuck = silent(before, after)
    if stuck:
        return dict.fromkeys(stuck)
    furthest = max((position.step, position.order) for position in after.values())
    late = {rank: there for rank, there in after.items() if (there.step, there.order) < furthest}
    busy = {rank: there for rank, there in after.items() if not there.waits}
    return {**(late or busy or after)}


def describe(peers: Peers, culprits: Mapping[int, Position | None]) -> str:
    """Return who is at fault: ``process 1 (node02) is before step 7 (videopool/data/..:10, read)``."""
    parts = []
    for rank, position in [*culprits.items()][:4]:
        what = f"is {position.stage} ({position.line})" if position else "does not respond"
        parts.append(f"{peers.name(rank)} {what}")
    more = f" and {len(culprits) - 4} more processes" if len(culprits) > 4 else ""
    return f"{'; '.join(parts)}{more}"


def write_stacks(path: Path, title: str) -> None:
    """Write the stacks of all threads of this process to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} pid {os.getpid()}, {title}\n")
        file.flush()
        faulthandler.dump_traceback(file, all_threads=True)


def end_now(code: int) -> None:
    """End this process and its descendants at once, even if a thread hangs in native code.

    The tracker of ``multiprocessing`` stays: it removes the semaphores of the others from /dev/shm, and then ends.
    """
    sys.stdout.flush()
    tracker = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]
    for child in _descendants(os.getpid()):
        if child != tracker:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
    os._exit(code)


def kill_silent(peers: Peers, silent: Sequence[int]) -> None:
    """Kill processes of this machine that do not respond, which torchrun would do 30 s after the others have ended.

    Only processes with the same parent are killed (Linux; elsewhere none), so no other process of that id is.
    """
    own, parents = peers.hosts[peers.launch.rank], _parents()
    for rank in silent:
        pid = int(peers.about[rank]["pid"])
        if peers.hosts[rank] == own and rank != peers.launch.rank and parents.get(pid) == os.getppid():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _parents() -> dict[int, int]:
    """Return the process id of the parent of each process, by process id (Linux; elsewhere none)."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            parents[int(path.parent.name)] = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
    return parents


def _descendants(pid: int) -> list[int]:
    """Return the process ids of the children of a process and of their children (Linux; elsewhere none)."""
    parents = _parents()
    found, level = [], [pid]
    while level:
        level = [child for child, parent in parents.items() if parent in level]
        found += level
    return found


def _ended(peers: Peers) -> dict[int, int]:
    """Return the exit codes of the processes that have ended in an orderly way."""
    names = {rank: f"ended/{rank}" for rank in range(peers.launch.size)}
    return {rank: int(peers.store.get(name)) for rank, name in names.items() if peers.store.check([name])}
