"""Do the runs of a plan, each in its own process, and write the tables after each of them.

This uses the process primitives of ``videopool.processes``, but not its ``WorkerPool``. A run needs a fresh process,
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

from videopool.compare.plan import RESULT, ComparisonPlan, Run, check_networks, finished_result
from videopool.compare.run import PRELOAD, main
from videopool.console import format_duration
from videopool.engine.cluster.launch import read_launch
from videopool.engine.cluster.stop import EXIT_STOPPED, StopRequest
from videopool.errors import InputError
from videopool.files import remove_unfinished
from videopool.processes.children import exit_description, fork_server
from videopool.processes.cores import threads_per_process
from videopool.processes.lock import locked

_POLL_SECONDS = 0.2  # between two checks for a stop request

Results = dict[tuple[str, int, int], dict[str, Any]]  # (method, fold, seed): the content of ``run.json``
Failures = dict[tuple[str, int, int], str]  # (method, fold, seed): the reason


@dataclasses.dataclass(frozen=True, eq=False)
class _RunningRun:
    run: Run
    process: BaseProcess
    gpu: int
    since: float


class Supervisor:
    """Does the runs of ``plan`` whose method is in ``methods``, while the caller holds ``lock_folder``.

    A run that fails is recorded with its reason, and the others continue. Runs share the GPUs.

    Args:
        processes: runs at a time.
        write: writes the tables.
        say: prints a line for the user.

    Raises:
        InputError: for runs that were finished or started with other settings, and a network that cannot be built.
    """

    def __init__(
        self,
        plan: ComparisonPlan,
        *,
        methods: Sequence[str],
        processes: int,
        write: Callable[[Results, Failures], None],
        say: Callable[[str], None],
    ) -> None:
        if read_launch(os.environ).size > 1:
            raise InputError("A comparison starts its own processes. Run it as one process, with --processes N.")
        self.plan, self.processes, self.write, self.say = plan, processes, write, say
        self.results: Results = {key_of(run): result for run in plan.runs if (result := finished_result(run))}
        self.failures: Failures = {}
        self._waiting = [run for run in plan.runs if run.method in methods and key_of(run) not in self.results]
        check_networks(plan, list(dict.fromkeys(run.method for run in self._waiting)))
        self._running: list[_RunningRun] = []
        self._gpus = torch.cuda.device_count()
        self._stopped = False
        self._run_seconds: list[float] = []
        self._write_error: OSError | None = None
        self._context = fork_server(PRELOAD)

    def run(self) -> bool:
        """Do what is left, and write the tables; return False if it was stopped before the end.

        Raises:
            OSError: if the tables cannot be written before the first run or after the last.
        """
        if not self._waiting:
            self.say("all runs are finished")
        self.write(self.results, self.failures)
        with StopRequest() as stop:
            try:
                while self._running or (self._waiting and not self._stopped):
                    while self._waiting and len(self._running) < self.processes and not self._stopped:
                        self._start(self._waiting.pop(0))
                    wait([one.process.sentinel for one in self._running], timeout=_POLL_SECONDS)
                    if stop.requested and not self._stopped:  # first: the same signal may have ended runs
                        self._stop()
                    self._collect()
            finally:
                for one in self._running:
                    one.process.terminate()
        if self._write_error:
            raise self._write_error
        return not self._stopped

    def _start(self, run: Run) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)
        taken = [one.gpu for one in self._running]
        gpu = min(range(self._gpus or 1), key=taken.count)
        keep = self.plan.comparison.checkpoints == "last"
        threads = threads_per_process(self.processes)
        arguments = (run, run.folder / "output.txt", threads, gpu, self.processes, keep)
        process = self._context.Process(target=main, args=arguments)
        process.start()
        self._running.append(_RunningRun(run, process, gpu, time.monotonic()))

    def _collect(self) -> None:
        """Take in the runs that have ended."""
        ended = [one for one in self._running if one.process.exitcode is not None]
        self._running = [one for one in self._running if one not in ended]
        for one in ended:
            self._record(one.run, one.process.exitcode or 0, time.monotonic() - one.since)

    def _record(self, run: Run, code: int, seconds: float) -> None:
        if code == EXIT_STOPPED or (self._stopped and code):
            self._stop()
            return
        result = finished_result(run) if code == 0 else None
        if result:
            self.results[key_of(run)] = result
            self._run_seconds.append(seconds)
            self.say(f"{self._count()} {run.name}: {_summary(result)}{self._left()}")
        else:
            self.failures[key_of(run)] = _failure_reason(run, code)
            self.say(f"{self._count()} {run.name} failed: {self.failures[key_of(run)]}")
        try:
            self.write(self.results, self.failures)
            self._write_error = None
        except OSError as error:  # a full disk; what matters is whether the last tables are written
            self._write_error = error
            self.say(f"warning: could not write the tables ({error}); the runs continue")

    def _stop(self) -> None:
        """Ask the running runs to save and exit, and start no more."""
        self._stopped = True
        for one in self._running:
            one.process.terminate()

    def _count(self) -> str:
        return f"[{len(self.results) + len(self.failures)}/{len(self.plan.runs)}]"

    def _left(self) -> str:
        runs = len(self._waiting) + len(self._running)
        seconds = runs * sum(self._run_seconds) / len(self._run_seconds) / self.processes
        return f"; {format_duration(seconds)} left" if runs else ""


def key_of(run: Run) -> tuple[str, int, int]:
    """Return what identifies a run: method, fold, seed."""
    return run.method, run.fold, run.seed


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Reserve the folder for this comparison in the ``with`` block.

    Raises:
        InputError: if another comparison is running there.
    """
    busy = f"Another comparison is running in {folder}. Wait for it, or choose another folder with out=."
    with locked(folder / ".lock", busy=busy):
        remove_unfinished(folder)
        remove_unfinished(folder / "folds")
        yield


def _summary(result: dict[str, Any]) -> str:
    correct, videos = sum(result["correct"].values()), len(result["correct"])
    time_taken = "" if result["train_seconds"] is None else f", {result['train_seconds']:.0f} s of steps"
    return f"{correct}/{videos} videos correct, training loss {result['train_loss']:.3f}{time_taken}"


def _failure_reason(run: Run, code: int) -> str:
    """Return why a run failed: its error message, or its exit code and the last line that it printed."""
    output = run.folder / "output.txt"
    text = output.read_text(encoding="utf-8", errors="replace") if output.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if code == 2 and lines and lines[-1].startswith("error: "):
        return lines[-1].removeprefix("error: ")
    if code == 0:
        return f"it ended without {run.folder / RESULT}"
    return f"{exit_description(code)}, see {output}" + (f" ({lines[-1]})" if lines and code > 0 else "")
