"""The logs of a run: ``log.jsonl``, ``validation.jsonl``, ``bad_videos.jsonl``, trackers, and the progress bar."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.text import Text

from videopool.console import console, format_duration, progress_bar
from videopool.engine.watching.remaining import RemainingTime
from videopool.engine.watching.starvation import StarvationAdvice
from videopool.engine.watching.trackers import Trackers
from videopool.files import finite_values
from videopool.types import BadVideo


class RunLog:
    """The logs of one run: two JSON-lines files, trackers such as TensorBoard, and the screen.

    Args:
        folder: of the run.
        total_steps: of the run.
        start_step: lines of later steps, which a killed run wrote after its last checkpoint, are removed.
        validations: the steps after which the run validates, rising.
        trackers: keys of ``trackers.PACKAGES``.
        config: plain values, for the trackers.
        starvation: gives advice when the device waits for the loader.
        main: whether this process writes to the screen.
        writes: whether it writes files.
    """

    def __init__(
        self,
        folder: Path,
        total_steps: int,
        *,
        start_step: int,
        validations: Sequence[int],
        trackers: Sequence[str],
        config: Mapping[str, Any],
        starvation: StarvationAdvice,
        main: bool,
        writes: bool,
    ) -> None:
        self.writes = writes
        self.training_log, self.validation_log = folder / "log.jsonl", folder / "validation.jsonl"
        self.console = console(quiet=not main)
        self._total_steps, self._starvation = total_steps, starvation
        if writes:
            folder.mkdir(parents=True, exist_ok=True)
            for path in (self.training_log, self.validation_log):
                _keep_steps(path, start_step)
            self._remaining = RemainingTime(
                total_steps,
                start_step=start_step,
                validations=validations,
                durations=[line["seconds"] for line in read_lines(self.validation_log) if "seconds" in line],
            )
            self._start_trackers = functools.partial(
                Trackers, trackers, folder, start_step=start_step, config=config, warn=self.say
            )
            self._progress = _training_progress(self.console, self._remaining)
            self._task = self._progress.add_task("train", total=total_steps, completed=start_step, note="")

    def __enter__(self) -> RunLog:
        if self.writes:
            self._trackers = self._start_trackers()
            if self.console.is_terminal:
                self._progress.start()
        return self

    def __exit__(self, *raised: object) -> None:
        if self.writes:
            if self.console.is_terminal:
                self._progress.stop()
            self._trackers.close()

    def advance(self, step: int) -> None:
        """Move the progress bar to ``step``."""
        if self.writes:
            self._remaining.advance(step)
            self._progress.update(self._task, completed=step)

    def training(self, values: dict[str, float | int]) -> None:
        """Log the values of one step: ``step``, ``epoch``, ``loss``, ``lr`` and more."""
        if not self.writes:
            return
        self._write(self.training_log, "train", values)
        note = f"loss {values['loss']:.3f}  lr {values['lr']:.2e}"
        if values["bad_videos"]:
            note += f"  {values['bad_videos']} bad videos"
        rate = f"{values['clips_per_second']:.1f} clips/s{_waiting_note(values)}"
        self._progress.update(self._task, note=f"{note}  {rate}")
        if not self.console.is_terminal:
            self.console.print(
                f"step {values['step']}/{self._total_steps}  epoch {values['epoch']}  {note}  {rate}{self._left_note()}"
            )
        step, wait = _step_and_wait(values)
        clips = step * values.get("clips_per_second_per_device", 0.0)
        advice = self._starvation.advice(step=step, wait=wait, clips=clips)
        if advice:
            self.say(advice)

    def evaluation(self, values: dict[str, Any], headline: str) -> None:
        """Log the metrics of a validation and its duration in seconds, and print ``headline``."""
        if not self.writes:
            return
        self._write(self.validation_log, "validation", {**values, "seconds": self._remaining.validated()})
        self.console.print(
            f"step {values['step']}  evaluation: {headline}{unscored_note(values['unscored'], values['videos'])}"
        )

    def say(self, text: str) -> None:
        """Print ``text`` to the screen of the main process."""
        self.console.print(text)

    def _left_note(self) -> str:
        seconds = self._remaining.seconds()
        return f"  {format_duration(seconds)} left" if seconds else ""

    def _write(self, path: Path, kind: str, values: dict[str, Any]) -> None:
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(finite_values(values)) + "\n")
        except OSError as error:
            self.say(f"warning: step {values['step']} is missing in {path}: {error.strerror}; training continues")
        self._trackers.log(kind, values, values["step"])


def _step_and_wait(values: Mapping[str, float]) -> tuple[float, float]:
    """Return the seconds of a step, and those of waiting for the loader; 0 if they were not measured."""
    return values.get("step_seconds", 0.0), values.get("longest_data_seconds", 0.0)


def _waiting_note(values: Mapping[str, float]) -> str:
    """Return the part of the time that the device waits for the loader, or "" if it is below one percent."""
    step, wait = _step_and_wait(values)
    return f"  waiting {100 * wait / step:.0f} %" if step and wait >= 0.01 * step else ""


def _training_progress(on: Console, remaining: RemainingTime) -> Progress:
    """Return a progress bar whose last column, the time left, includes validations."""
    progress = progress_bar(on=on)
    progress.columns = (*progress.columns[:-1], _TimeLeft(remaining))
    return progress


class _TimeLeft(ProgressColumn):
    def __init__(self, remaining: RemainingTime) -> None:
        super().__init__()
        self._remaining = remaining

    def render(self, task: Task) -> Text:
        seconds = self._remaining.seconds()
        return Text("" if seconds is None else f"{format_duration(seconds)} left")


def unscored_note(unscored: int, videos: int) -> str:
    """Return ``", 2 of 30 videos unscored"``, or "" if all were scored."""
    return f", {unscored} of {videos} videos unscored" if unscored else ""


class BadVideos:
    """The videos that could not be decoded: a file of path, reason, step and split. Each process lists a video once.

    Args:
        path: a JSON-lines file.
        start_step: lines of later steps are removed, as in ``RunLog``.
        writes: whether this process removes them.

    Attributes:
        failed: paths that failed in training since this process began. Videos that were repaired while the run was
            stopped do not count.
    """

    def __init__(self, path: Path, *, start_step: int = 0, writes: bool = True) -> None:
        self.path = path
        self.failed: set[str] = set()
        if writes:
            _keep_steps(path, start_step)
        self._listed: set[str] = {line["path"] for line in read_lines(path) if line["step"] <= start_step}

    def add(self, bad: tuple[BadVideo, ...], step: int) -> None:
        """Count and list videos that failed in training."""
        self.failed.update(video.path for video in bad)
        self.note(bad, step, "train")

    def note(self, bad: tuple[BadVideo, ...], step: int, split: str = "test") -> None:
        """List the videos that are not listed yet, without counting them; several processes may append."""
        new = {video.path: video for video in bad if video.path not in self._listed}
        if not new:
            return
        self._listed.update(new)
        lines = [{"path": v.path, "reason": v.reason, "step": step, "split": split} for v in new.values()]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.path.open("ab", buffering=0) as file:  # one write, which other processes do not divide
                file.write(text.encode())
        except OSError as error:
            print(f"warning: {self.path} cannot be written ({error.strerror}): {text}", file=sys.stderr)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file; [] without the file. Lines that a killed process cut off are skipped."""
    objects = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            objects.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return objects


def _keep_steps(path: Path, step: int) -> None:
    """Rewrite a log without the lines after ``step``."""
    if path.exists():
        kept = [line for line in read_lines(path) if line["step"] <= step]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        temporary.replace(path)
