"""Output for the user, whose terminal or pipe may close at any time; and progress bars."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_LINE_SECONDS = 30  # between two lines of progress without a terminal


def console(*, quiet: bool = False) -> Console:
    """Return a console on standard output. If its reader goes away (a closed pipe, a lost terminal), further output is
    dropped and the program continues."""
    output: Any = _Output()
    plain = _plain_without_terminal(sys.stdout)
    return Console(
        file=output, quiet=quiet, highlight=False, soft_wrap=True, markup=False, emoji=False, force_terminal=plain
    )


def progress_bar(*, on: Console | None = None, disable: bool = False) -> Progress:
    """Return a progress bar, to be entered with ``with``: description, bar, count, note, time spent and left.

    Args:
        on: where it is drawn; None: on standard error, so that it does not mix with results.
        disable: draw nothing, which is also so without a terminal.
    """
    target = on or Console(stderr=True, force_terminal=_plain_without_terminal(sys.stderr))
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Note(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=target,
        disable=disable or not target.is_terminal,
    )


def _plain_without_terminal(stream: TextIO) -> bool | None:
    """Return False without a terminal, else None. Jupyter sets FORCE_COLOR, with which rich draws bars in files."""
    return None if stream.isatty() else False


class FileProgress:
    """Progress through files, entered with ``with``: a bar on a terminal, otherwise a line every 30 seconds.

    Args:
        task: what is done, as printed.
        total: the number of files.
        done: how many of them were done by an earlier run.
    """

    def __init__(self, task: str, *, total: int, done: int = 0) -> None:
        self._name, self._total, self._before, self._done = task, total, done, done
        self._started = self._printed = time.monotonic()
        self._console = console()
        self._bar = progress_bar(on=self._console)
        self._task = self._bar.add_task(task, total=total, completed=done, note="")

    def __enter__(self) -> FileProgress:
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def advance(self, note: str) -> None:
        """Count one more file, and show ``note``."""
        self._done += 1
        self._bar.update(self._task, advance=1, note=note)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._printed >= _LINE_SECONDS:
            self._printed = now
            rate = (self._done - self._before) / max(now - self._started, 1e-9)
            left = format_duration((self._total - self._done) / rate)
            note = f", {note}" if note else ""
            self.print(f"{self._name}: {self._done}/{self._total} files{note}, {rate:.1f} files/s, {left} left")

    def print(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        self._console.print(text)


def format_duration(seconds: float) -> str:
    """Return seconds, minutes or hours, such as "45 s", "12 min" or "2.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def drop_output() -> None:
    """Drop all further standard output, including what Python has buffered."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


class _Note(ProgressColumn):
    """The ``note`` of a task, where it has one."""

    def render(self, task: Task) -> Text:
        return Text(task.fields.get("note", ""))


class _Output:
    def write(self, text: str) -> int:
        try:
            return sys.stdout.write(text)
        except OSError:
            drop_output()
            return len(text)

    def flush(self) -> None:
        try:
            sys.stdout.flush()
        except OSError:
            drop_output()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)
