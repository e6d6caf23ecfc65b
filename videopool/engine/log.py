"""What a run says: ``log.jsonl``, ``validation.jsonl``, ``bad_videos.jsonl``, TensorBoard, and a progress bar."""

from __future__ import annotations

import json
import os
import sys
import types
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from videopool.console import console
from videopool.types import BadVideo


class RunLog:
    """The record of one run in ``folder``; of several processes only the main one (``active``) writes.

    ``start_step``: lines that a killed run wrote beyond the checkpoint it goes on from are taken out, so that each
    step stands in the log once.
    """

    def __init__(self, folder: Path, *, total_steps: int, start_step: int, active: bool) -> None:
        self.active = active
        self.training_log, self.validation_log = folder / "log.jsonl", folder / "validation.jsonl"
        self.console = console(quiet=not active)
        self._total_steps = total_steps
        if active:
            from torch.utils.tensorboard import SummaryWriter  # imported here: it takes seconds

            folder.mkdir(parents=True, exist_ok=True)
            for path in (self.training_log, self.validation_log):
                _keep_steps(path, start_step)
            self._board: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=start_step + 1)
            self._progress = _progress_bar(self.console)
            self._task = self._progress.add_task("train", total=total_steps, completed=start_step, note="")

    def __enter__(self) -> RunLog:
        if self.active and self.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        if self.active:
            if self.console.is_terminal:
                self._progress.stop()
            self._board.close()

    def advance(self, step: int) -> None:
        """Moves the progress bar to ``step``."""
        if self.active:
            self._progress.update(self._task, completed=step)

    def training(self, values: dict[str, float | int]) -> None:
        """One logging step: ``step``, ``epoch``, ``loss``, ``lr`` and more."""
        if not self.active:
            return
        self._write(self.training_log, "train", values)
        note = f"loss {values['loss']:.3f}  lr {values['lr']:.2e}"
        if values["bad_videos"]:
            note += f"  {values['bad_videos']} bad videos"
        self._progress.update(self._task, note=note)
        if not self.console.is_terminal:
            rate = f"{values['clips_per_second']:.1f} clips/s"
            self.console.print(f"step {values['step']}/{self._total_steps}  epoch {values['epoch']}  {note}  {rate}")

    def evaluation(self, values: dict[str, Any], headline: str) -> None:
        """The metrics of one evaluation during training, and those that a person is told."""
        if not self.active:
            return
        self._write(self.validation_log, "validation", values)
        self.console.print(
            f"step {values['step']}  evaluation: {headline}{unscored_note(values['unscored'], values['videos'])}"
        )

    def say(self, text: str) -> None:
        """A line for the person who watches."""
        self.console.print(text)

    def _write(self, path: Path, kind: str, values: dict[str, Any]) -> None:
        finite = {name: None if value != value else value for name, value in values.items()}  # JSON has no NaN
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(finite) + "\n")
        except OSError as error:
            self.say(f"warning: step {values['step']} is missing in {path}: {error.strerror}; training goes on")
        for name, value in values.items():
            if isinstance(value, float):
                self._board.add_scalar(f"{kind}/{name}", value, values["step"])


def unscored_note(unscored: int, videos: int) -> str:
    """``", 2 of 30 videos unscored"``, or nothing when all were scored."""
    return f", {unscored} of {videos} videos unscored" if unscored else ""


class BadVideos:
    """The videos that could not be decoded, once by each process: path, reason, step, split in ``bad_videos.jsonl``.

    ``failed``: the paths that failed in training since this process began; videos that were mended while the run was
    stopped do not count. What a killed run listed beyond ``start_step`` is taken out, by the process that is ``main``.
    """

    def __init__(self, path: Path, *, start_step: int = 0, main: bool = True) -> None:
        self.path = path
        self.failed: set[str] = set()
        if main:
            _keep_steps(path, start_step)
        self._listed: set[str] = {line["path"] for line in _lines(path) if line["step"] <= start_step}

    def add(self, bad: tuple[BadVideo, ...], step: int) -> None:
        """Counts and lists videos that failed in training."""
        self.failed.update(video.path for video in bad)
        self.note(bad, step, "train")

    def note(self, bad: tuple[BadVideo, ...], step: int, split: str = "test") -> None:
        """Lists the videos that were not listed yet, without counting them; several processes may append."""
        new = {video.path: video for video in bad if video.path not in self._listed}
        if not new:
            return
        self._listed.update(new)
        lines = [{"path": v.path, "reason": v.reason, "step": step, "split": split} for v in new.values()]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, text.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            print(f"warning: {self.path} cannot be written ({error.strerror}): {text}", file=sys.stderr)


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; a last line that a killed process left unfinished is passed over."""
    objects = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            objects.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return objects


def _keep_steps(path: Path, step: int) -> None:
    """Rewrites the log without what lies beyond ``step``."""
    if path.exists():
        kept = [line for line in _lines(path) if line["step"] <= step]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        temporary.replace(path)
