"""The faults of a training on one machine. Each function causes one, and undoes it if it does not end the run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.train_faults.disk import Disk
from benchmarks.train_faults.run import TrainRun, UnexpectedError, send

PROCESSES = 2
_WARNING_SECONDS = 90.0


@dataclasses.dataclass(frozen=True)
class Scene:
    """What faults act on.

    Attributes:
        run: the training.
        disk: the file system with its folder.
        out: the folder of the run.
        videos: the folder of the training videos.
        rng: chooses processes, files and moments.
    """

    run: TrainRun
    disk: Disk
    out: Path
    videos: Path
    rng: np.random.Generator

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.out / "checkpoints"

    def random_rank(self) -> int:
        """Return the process id of a random training process."""
        return self.run.ranks()[int(self.rng.integers(PROCESSES))]

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Wait until ``condition`` holds or the run has ended."""
        self.run.wait(lambda: condition() or self.run.ended, _WARNING_SECONDS, what)


@dataclasses.dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        kind: which kind it is, in the table.
        strike: causes it. It may return a note for the table, instead of the kind.
        ends: whether the run should end.
        needs_mount: whether it needs its own file system.
    """

    kind: str
    strike: Callable[[Scene], str | None]
    ends: bool = True
    needs_mount: bool = False


def kill_process(scene: Scene) -> None:
    send(scene.random_rank(), signal.SIGKILL)


def kill_agent(scene: Scene) -> None:
    send(scene.run.agent(), signal.SIGKILL)


def terminate_process(scene: Scene) -> None:
    send(scene.random_rank(), signal.SIGTERM)


def signal_process(scene: Scene) -> None:
    send(scene.random_rank(), signal.SIGUSR1)


def stop_process(scene: Scene) -> None:
    send(scene.random_rank(), signal.SIGSTOP)


def kill_worker(scene: Scene) -> None:
    """Kill a loader worker, and wait until the run has noticed."""
    begin = time.monotonic()
    rank = int(scene.rng.integers(PROCESSES))
    scene.wait_for(lambda: scene.run.workers(rank), "the start of a loader worker")
    send(int(scene.rng.choice(scene.run.workers(rank))), signal.SIGKILL)
    scene.wait_for(lambda: any("worker ended" in text for text in scene.run.sentences(begin)), "a warning about it")


def kill_in_start(scene: Scene) -> str:
    """Kill everything, start again, and kill a training process, or torchrun if there is none yet, in the start."""
    scene.run.kill()
    scene.run.start()
    wait = float(scene.rng.uniform(1, 6))
    time.sleep(wait)
    ranks = scene.run.ranks()
    send(ranks[max(ranks)] if ranks else scene.run.agent(), signal.SIGKILL)
    return f"SIGKILL of {'a training process' if ranks else 'torchrun'} {wait:.1f} s after a start"


def kill_while_saving(scene: Scene) -> str | None:
    """Kill the process that writes checkpoints as soon as a temporary file is seen."""
    writer = scene.run.ranks()[0]

    def unfinished() -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return [path.name for path in scene.checkpoints.iterdir() if ".tmp-" in path.name]
        return []

    until = time.monotonic() + _WARNING_SECONDS
    while not unfinished():
        if time.monotonic() > until:
            raise UnexpectedError("no checkpoint was written")
    send(writer, signal.SIGKILL)
    return None if unfinished() else "SIGKILL just after a save"


def fill_disk(scene: Scene) -> None:
    """Fill the file system until a checkpoint cannot be written."""
    begin = time.monotonic()
    with scene.disk.full():
        scene.wait_for(lambda: _warned(scene, begin, "No space left"), "a warning about the full disk")


def make_read_only(scene: Scene) -> None:
    """Make the file system read-only until a checkpoint cannot be written."""
    begin = time.monotonic()
    with scene.disk.read_only():
        scene.wait_for(lambda: _warned(scene, begin, "Read-only"), "a warning about the read-only folder")


def _warned(scene: Scene, begin: float, text: str) -> bool:
    return any(text in sentence and "checkpoint" in sentence for sentence in scene.run.sentences(begin))


def move_folder(scene: Scene) -> None:
    """Move the run folder away; the run makes it again when it saves."""
    away = scene.out.with_name("away")
    scene.out.rename(away)
    scene.wait_for((scene.checkpoints / "last.pt").exists, "a new run folder")
    scene.wait_for(lambda: len(list(scene.checkpoints.glob("step-*.pt"))) > 1, "a second checkpoint there")
    shutil.rmtree(away)


def damage_checkpoint(scene: Scene) -> str:
    """Kill everything once there are two checkpoints, and damage or remove the newest."""
    scene.wait_for(lambda: len(list(scene.checkpoints.glob("step-*.pt"))) > 1, "a second checkpoint")
    scene.run.kill()
    last = scene.checkpoints / "last.pt"
    how = str(scene.rng.choice(["truncated", "garbled", "removed"]))
    if how == "truncated":
        os.truncate(last, int(scene.rng.integers(last.stat().st_size)))
    elif how == "garbled":
        with last.open("r+b") as file:
            file.seek(int(scene.rng.integers(last.stat().st_size - 64)))
            file.write(scene.rng.bytes(64))
    else:
        last.unlink()
        (scene.checkpoints / "last.pt.sha256").unlink()
    return f"SIGKILL of all, last.pt {how}"


def break_video(scene: Scene) -> str:
    """Delete or truncate a video until the run lists it, restore it, and return to the checkpoint before.

    The run replaces the clips of a video that it cannot read, which changes its results. So everything is killed, and
    the later checkpoints are removed, as a user would do to repeat these steps with the restored video.
    """
    path = Path(scene.rng.choice(sorted(map(str, scene.videos.rglob("*.mp4")))))
    content, how = path.read_bytes(), str(scene.rng.choice(["deleted", "truncated"]))
    step = scene.run.step
    listed = scene.out / "bad_videos.jsonl"
    if how == "deleted":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2])
    try:
        scene.wait_for(lambda: listed.exists() and str(path) in listed.read_text(), "the video in bad_videos.jsonl")
    finally:
        path.write_bytes(content)
    scene.run.kill()
    for name in ("last.pt", "best.pt"):
        (scene.checkpoints / name).unlink(missing_ok=True)
    for later in scene.checkpoints.glob("step-*.pt"):
        if int(later.stem.partition("-")[2]) > step:
            later.unlink()
    return f"a video {how} and restored; SIGKILL of all, checkpoints since then removed"


FAULTS = {
    "process": Fault("SIGKILL of a training process", kill_process),
    "agent": Fault("SIGKILL of torchrun", kill_agent),
    "start": Fault("SIGKILL in the start", kill_in_start),
    "SIGTERM": Fault("SIGTERM to one process", terminate_process),
    "SIGUSR1": Fault("SIGUSR1 to one process", signal_process),
    "worker": Fault("SIGKILL of a loader worker", kill_worker, ends=False),
    "saving": Fault("SIGKILL while a checkpoint is written", kill_while_saving),
    "full": Fault("full disk until a save fails", fill_disk, ends=False, needs_mount=True),
    "read-only": Fault("read-only run folder until a save fails", make_read_only, ends=False, needs_mount=True),
    "moved": Fault("run folder moved away", move_folder, ends=False),
    "damaged": Fault("newest checkpoint damaged between two runs", damage_checkpoint),
    "video": Fault("video file deleted or damaged for a while", break_video),
    "hang": Fault("SIGSTOP of one process (hang)", stop_process),
}


def schedule(count: int, rng: np.random.Generator, mounted: bool) -> list[str]:
    """Return ``count`` names of ``FAULTS``: all kinds in random order, again and again."""
    names = [name for name, fault in FAULTS.items() if mounted or not fault.needs_mount]
    rounds = [names[number] for _ in range(-(-count // len(names))) for number in rng.permutation(len(names))]
    return rounds[:count]
