"""Train with two processes under torchrun while random faults happen, and compare with an uninterrupted training.

    python -m benchmarks.train_faults [--seed N] [--faults N] [--part machine|hosts] [--videos FOLDER] [--to FILE.md]

After each fault, the same command is started again if the run has ended. The report shows for each fault what ended,
how many steps were repeated and how long it took until training continued, and whether the final weights are bit for
bit those of the uninterrupted training. The faults of two hosts, which are network namespaces, follow. The exit code is
1 if a check fails.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import add_page_argument, this_machine, write_page
from benchmarks.train_faults.disk import Disk, private_tmpfs
from benchmarks.train_faults.hosts import measure_hosts
from benchmarks.train_faults.kinds import FAULTS, PROCESSES, Scene, schedule
from benchmarks.train_faults.run import Start, TrainRun, UnexpectedError
from benchmarks.train_faults.training import (
    EPOCH,
    SAVE_EVERY,
    STEPS_PER_FAULT,
    compare_losses,
    compare_runs,
    copy_videos,
    environment,
    finish,
    leftovers,
    torchrun,
    train_command,
    write_videos,
)
from videopool.engine.checkpoints.files import read_checkpoint
from videopool.errors import InputError
from videopool.files import strip_local_paths
from videopool.report.tables import Row, markdown

_STARTED_SECONDS, _ENDED_SECONDS = 150.0, 150.0
COLUMNS = ("fault", "at step", "exit", "ended after, s", "steps repeated", "continued after, s", "message")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The effect of a fault.

    Attributes:
        kind: the kind of fault.
        what: what happened.
        step: the last step before it.
        exit: exit code of torchrun; "continues" if it did not end.
        ended: seconds until the last process of the run had ended, if it ended.
        repeated: steps that were done twice.
        continued: seconds from the fault to the next step or, if the run did not end, the longest time between two
            steps until one after the fault.
        message: what the run printed.
    """

    kind: str
    what: str
    step: int
    exit: str = "continues"
    ended: float | None = None
    repeated: int = 0
    continued: float = 0.0
    message: str = "-"

    def row(self) -> Row:
        """Return the line of the table."""
        ended = "-" if self.ended is None else f"{self.ended:.1f}"
        values = (self.what, self.step, self.exit, ended, self.repeated, f"{self.continued:.1f}", self.message)
        return dict(zip(COLUMNS, values, strict=True))


# --- a run with faults ---------------------------------------------------------------------------------------------


def cause_fault(scene: Scene, name: str) -> Outcome:
    """Cause a fault after a random number of steps, start the run again if it has ended, and wait for a step.

    Raises:
        UnexpectedError: if the run does not end, does not continue, or leaves a process.
    """
    fault, run = FAULTS[name], scene.run
    run.wait_steps(int(scene.rng.integers(3, 25)))
    if run.ended:
        raise UnexpectedError("the run ended without a fault")
    time.sleep(float(scene.rng.uniform(0, 0.3)))
    step, begin = run.step, time.monotonic()
    what = fault.strike(scene) or fault.kind
    if fault.ends:
        return _start_again(scene, Outcome(fault.kind, what, step), begin)
    repaired = time.monotonic()
    run.wait(lambda: run.ended or run.steps(repaired), _ENDED_SECONDS, "the next step")
    if run.ended:
        return _start_again(scene, Outcome(fault.kind, what, step), begin)
    pause = _longest_pause(run, begin, repaired)
    return Outcome(fault.kind, what, step, continued=pause, message=_message(scene, begin))


def _start_again(scene: Scene, fault: Outcome, begin: float) -> Outcome:
    """Wait for the end of a run and of its processes, start it again, and return the whole outcome."""
    run = scene.run
    run.wait(lambda: run.ended, _ENDED_SECONDS, f"the end of the run after {fault.what}")
    run.wait_for_no_process()
    ended, last, code = time.monotonic() - begin, run.step, ", ".join(map(str, run.exit_codes()))
    again = time.monotonic()
    run.start()
    run.wait(lambda: run.restarted(again) or run.ended, _STARTED_SECONDS, "a step after a start")
    if run.ended:
        raise UnexpectedError(f"the run did not continue after {fault.what}: {run.sentences(again)}")
    first = run.restarted(again)[0]
    return dataclasses.replace(
        fault,
        exit=code,
        ended=ended,
        repeated=last - (first.step or 0) + 1,
        continued=first.seconds - begin,
        message=_message(scene, begin),
    )


def _longest_pause(run: TrainRun, begin: float, end: float) -> float:
    """Return the longest time between two steps from the last one before ``begin`` to the first one after ``end``."""
    steps = [begin, *(line.seconds for line in run.steps(begin))]
    return max(after - before for before, after in itertools.pairwise(steps) if before <= end)


def _message(scene: Scene, begin: float) -> str:
    """Return the first message about the checkpoints or the end of the run, else the first one."""
    found = [strip_local_paths(text, scene.disk.folder, scene.videos) for text in scene.run.sentences(begin)]
    chosen = [text for text in found if "Using" in text] or [text for text in found if "checkpoint" in text] or found
    return chosen[0] if chosen else "-"


def run_with_faults(scene: Scene, names: Sequence[str]) -> list[Outcome]:
    """Train to the end while the faults happen."""
    scene.run.start()
    outcomes = []
    for name in names:
        outcomes.append(cause_fault(scene, name))
        print(f"{len(outcomes)}/{len(names)} {json.dumps(outcomes[-1].row())}", flush=True)
    finish(scene.run)
    return outcomes


# --- the checks ----------------------------------------------------------------------------------------------------


def checks_of(faulty: Path, whole: Path, shared_memory: Path | None) -> dict[str, bool]:
    """Return whether the run with faults ended as it should, by check."""
    differences = compare_runs(faulty, whole)
    common, different = compare_losses(faulty, whole)
    largest = max(differences.values())
    same = f"weights, their average, optimizer and best score are bit for bit the same (difference {largest:g})"
    checks = {
        same: largest == 0,
        f"loss and gradient norm of the {common} steps in both logs are the same ({different} differ)": not different,
        "after every end, no process of the run was left": True,  # else an error was raised
        "no temporary file is left in the run folder": not leftovers(faulty),
    }
    if shared_memory is not None:
        left = [path.name for path in shared_memory.iterdir()]
        semaphores = sum(name.startswith("sem.") for name in left)  # torchrun kills their tracker in a hung group
        name = f"no shared memory is left, except for {semaphores} semaphores of 32 bytes"
        checks[name] = len(left) == semaphores
    return checks


# --- the report ----------------------------------------------------------------------------------------------------


def measure(folder: Path, videos: Path | None, count: int, seed: int, only: Sequence[str]) -> tuple[str, bool]:
    """Return the report on one machine, and whether every check holds."""
    rng = np.random.default_rng(seed)
    shared_memory = Path("/dev/shm") if private_tmpfs(Path("/dev/shm")) else None
    videos = copy_videos(videos, folder / "videos") if videos else write_videos(folder / "videos")
    with contextlib.closing(Disk(folder / "disk")) as disk:
        names = [*only] or schedule(count, rng, disk.mounted)
        epochs = len(names) * STEPS_PER_FAULT // EPOCH + 10
        whole, faulty = disk.folder / "whole", disk.folder / "run"

        def run_at(out: Path) -> TrainRun:
            launch = torchrun("--standalone", "--nproc-per-node", str(PROCESSES))
            start = Start([*launch, *train_command(videos, out, epochs)])
            return TrainRun([start], environment(folder / "tmp"), folder / f"{out.name}.log")

        with contextlib.closing(run_at(whole)) as reference:
            seconds = train_to_end(reference)
        with contextlib.closing(run_at(faulty)) as run:
            outcomes = run_with_faults(Scene(run, disk, faulty, videos / "train", rng), names)
        checks = checks_of(faulty, whole, shared_memory)
        steps = read_checkpoint(whole / "checkpoints/last.pt")["step"]
    about = f"{steps} steps; without faults they took {seconds:.0f} s. A checkpoint every {SAVE_EVERY} steps."
    return _page(outcomes, checks, about, disk.mounted), all(checks.values())


def train_to_end(run: TrainRun) -> float:
    """Train without faults; return the seconds."""
    begin = time.monotonic()
    run.start()
    finish(run)
    return time.monotonic() - begin


def _page(outcomes: Sequence[Outcome], checks: dict[str, bool], about: str, mounted: bool) -> str:
    kinds = len({outcome.kind for outcome in outcomes})
    verdicts: list[Row] = [{"check": check, "holds": "yes" if holds else "**NO**"} for check, holds in checks.items()]
    ended = [outcome for outcome in outcomes if outcome.ended is not None]
    lost = sum(outcome.repeated for outcome in outcomes)
    repeated = f"{len(ended)} of {len(outcomes)} faults ended the run; {lost} steps were done again."
    skipped = "" if mounted else "\nNot tried: a full and a read-only disk, because this user may not mount one.\n"
    return "\n".join(
        [
            f"## {len(outcomes)} faults of {kinds} kinds in one run of {PROCESSES} processes",
            "",
            f"{about} {repeated}",
            skipped,
            markdown([outcome.row() for outcome in outcomes], COLUMNS),
            "",
            markdown(verdicts, ["check", "holds"]),
            "",
        ]
    )


def main() -> int:
    program = "python -m benchmarks.train_faults"
    parser = argparse.ArgumentParser(prog=program, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="seed of the order and the moments of the faults (0)")
    parser.add_argument("--faults", type=int, default=2 * len(FAULTS), help=f"number ({2 * len(FAULTS)})")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=[], help="these faults instead, in this order")
    parser.add_argument("--videos", type=Path, help="data set with train and test (made-up motions)")
    parser.add_argument("--part", choices=("all", "machine", "hosts"), default="all", help="one of the two parts (all)")
    add_page_argument(parser)
    arguments = parser.parse_args()
    title = f"# Faults in training, {this_machine(torch.device('cpu'), 'malloc').hardware}, {os.cpu_count()} cores"
    command = f"{program} --part {arguments.part} --seed {arguments.seed}"
    about = (
        f"    {command} --faults {arguments.faults}\n\n"
        f"{datetime.date.today().isoformat()}, torch {torch.__version__}, one thread for each process, load average "
        f"{os.getloadavg()[0]:.1f} at the start. Times are only indicative: other work ran on the machine."
    )
    with tempfile.TemporaryDirectory(prefix="train-faults-") as place:
        folder, parts = Path(place), []
        try:
            if arguments.part != "hosts":
                parts.append(measure(folder, arguments.videos, arguments.faults, arguments.seed, arguments.only))
            if arguments.part != "machine":
                parts.append(measure_hosts(folder / "hosts"))
        except (InputError, UnexpectedError) as error:
            parts.append((f"**Ended early:** {error}\n", False))
    page = "\n".join([title, "", about, "", *(text for text, _ in parts)])
    print(page)
    write_page([page], arguments.to)
    return 0 if all(holds for _, holds in parts) else 1


if __name__ == "__main__":
    sys.exit(main())
