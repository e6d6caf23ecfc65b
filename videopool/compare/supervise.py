"""Do the runs of a plan, each in its own process, and write the tables after each of them.

This shares the process primitives of ``videopool.processes``, but not its ``WorkerPool``. A run needs a fresh process,
which has children (its loader workers), may take days without a timeout, and is asked to stop with SIGTERM, upon which
it saves and exits with 75. Its answer is a file that outlives the comparison. A pool worker is the opposite in each
respect: it is reused, has no children, is killed on time, and sends its answers through a pipe.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from videopool.compare.plan import RESULT, Plan, Run, check_networks, finished
from videopool.compare.run import PRELOAD, How, main
from videopool.engine.stop import EXIT_STOPPED, StopRequest
from videopool.errors import InputError
from videopool.processes.children import exit_description, fork_server
from videopool.processes.cores import threads_per_process
from videopool.processes.lock import locked

_LOOK_SECONDS = 0.2  # between two looks at whether a stop was asked for

Results = dict[tuple[str, int, int], dict[str, Any]]  # (method, fold, seed): what ``run.json`` holds
Failures = dict[tuple[str, int, int], str]


@dataclasses.dataclass(frozen=True, eq=False)
class _Running:
    run: Run
    process: BaseProcess
    gpu: int
    since: float


class Supervisor:
    """Does the runs of ``plan`` whose method is in ``methods``, ``processes`` at a time; ``write`` makes the tables.

    A run that fails is noted with its reason, and the others go on. Several GPUs are shared out among the runs.
    ``say`` tells the person who watches. Whoever calls holds the folder (``locked``).

    Raises:
        InputError: for runs that were made or begun with other settings, and a network that cannot be built.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        methods: Sequence[str],
        processes: int,
        write: Callable[[Results, Failures], None],
        say: Callable[[str], None],
    ) -> None:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InputError("a comparison starts its processes itself; start it without torchrun, with --processes N")
        self.plan, self.processes, self.write, self.say = plan, processes, write, say
        self.results: Results = {key_of(run): result for run in plan.runs if (result := finished(run))}
        self.failures: Failures = {}
        self._waiting = [run for run in plan.runs if run.method in methods and key_of(run) not in self.results]
        check_networks(plan, list(dict.fromkeys(run.method for run in self._waiting)))
        self._running: list[_Running] = []
        self._gpus = torch.cuda.device_count()
        self._stopped = False
        self._spent: list[float] = []
        self._unwritten: OSError | None = None
        self._context = fork_server(PRELOAD)

    def run(self) -> bool:
        """Does what is left; False when it was stopped before the end. The tables are written in any case.

        Raises:
            OSError: where the tables cannot be written before the first run, or after the last.
        """
        if not self._waiting:
            self.say("every run is finished already")
        self.write(self.results, self.failures)
        with StopRequest() as stop:
            try:
                while self._running or (self._waiting and not self._stopped):
                    while self._waiting and len(self._running) < self.processes and not self._stopped:
                        self._start(self._waiting.pop(0))
                    wait([one.process.sentinel for one in self._running], timeout=_LOOK_SECONDS)
                    if stop.requested and not self._stopped:  # before a run that the same signal ended is looked at
                        self._stop()
                    self._collect()
            finally:
                for one in self._running:
                    one.process.terminate()
        if self._unwritten:
            raise self._unwritten
        return not self._stopped

    def _start(self, run: Run) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)
        taken = [one.gpu for one in self._running]
        gpu = min(range(self._gpus or 1), key=taken.count)
        keep = self.plan.comparison.checkpoints == "last"
        how = How(threads_per_process(self.processes), gpu, self.processes, keep)
        process = self._context.Process(target=main, args=(run, run.folder / "output.txt", how))
        process.start()
        self._running.append(_Running(run, process, gpu, time.monotonic()))

    def _collect(self) -> None:
        """Takes in the runs that have ended."""
        ended = [one for one in self._running if one.process.exitcode is not None]
        self._running = [one for one in self._running if one not in ended]
        for one in ended:
            self._ended(one.run, one.process.exitcode or 0, time.monotonic() - one.since)

    def _ended(self, run: Run, code: int, seconds: float) -> None:
        if code == EXIT_STOPPED or (self._stopped and code):
            self._stop()
            return
        result = finished(run) if code == 0 else None
        if result:
            self.results[key_of(run)] = result
            self._spent.append(seconds)
            self.say(f"{self._count()} {run.name}: {_summary(result)}{self._left()}")
        else:
            self.failures[key_of(run)] = _reason(run, code)
            self.say(f"{self._count()} {run.name} failed: {self.failures[key_of(run)]}")
        self._write_tables()

    def _write_tables(self) -> None:
        """The tables; a full disk is said, and survived until the last of them."""
        try:
            self.write(self.results, self.failures)
            self._unwritten = None
        except OSError as error:
            self._unwritten = error
            self.say(f"warning: the tables are not written: {error}; the runs go on")

    def _stop(self) -> None:
        """Asks the running ones to save and end, and starts no more."""
        self._stopped = True
        for one in self._running:
            one.process.terminate()

    def _count(self) -> str:
        return f"[{len(self.results) + len(self.failures)}/{len(self.plan.runs)}]"

    def _left(self) -> str:
        runs = len(self._waiting) + len(self._running)
        minutes = runs * sum(self._spent) / len(self._spent) / self.processes / 60
        return f"; {minutes:.0f} min left" if runs else ""


def key_of(run: Run) -> tuple[str, int, int]:
    """What a run is known by: method, fold, seed."""
    return run.method, run.fold, run.seed


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Reserve the folder for this comparison in the ``with`` block.

    Raises:
        InputError: if another comparison is running there.
    """
    busy = f"another comparison is running in {folder}. Wait for it, or choose another folder with out=."
    with locked(folder / ".lock", busy=busy):
        for leftover in (*folder.glob("*.tmp-*"), *folder.glob("folds/*.tmp-*")):  # from a killed comparison
            leftover.unlink(missing_ok=True)
        yield


def _summary(result: dict[str, Any]) -> str:
    right, videos = sum(result["correct"].values()), len(result["correct"])
    took = "" if result["train_seconds"] is None else f", {result['train_seconds']:.0f} s of steps"
    return f"{right}/{videos} videos, training loss {result['train_loss']:.3f}{took}"


def _reason(run: Run, code: int) -> str:
    """Why a run failed: its one sentence, or the last line that it printed."""
    output = run.folder / "output.txt"
    text = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
    said = [line.strip() for line in text.splitlines() if line.strip()]
    if code == 2 and said and said[-1].startswith("error: "):
        return said[-1].removeprefix("error: ")
    if code == 0:
        return f"it ended without {run.folder / RESULT}"
    return f"{exit_description(code)}, see {output}" + (f" ({said[-1]})" if said and code > 0 else "")
