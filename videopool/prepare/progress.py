"""What the person who watches sees: a bar with the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
import types

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from videopool.console import console

_LINE_SECONDS = 30  # between two lines where there is no terminal


class Watched:
    """Progress through ``total`` files, of which ``done`` were done at an earlier start; used with ``with``."""

    def __init__(self, what: str, *, total: int, done: int = 0) -> None:
        self._what, self._total, self._before, self._done = what, total, done, done
        self._began = self._said = time.monotonic()
        self._console = console()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._bar = Progress(
            *columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=self._console
        )
        self._task = self._bar.add_task(what, total=total, completed=done, note="")

    def __enter__(self) -> Watched:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def advance(self, note: str) -> None:
        """One file more is done; ``note`` says what was found so far."""
        self._done += 1
        self._bar.update(self._task, advance=1, note=note)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._said >= _LINE_SECONDS:
            self._said = now
            self.say(f"{self._what}: {self._done}/{self._total} files{', ' * bool(note)}{note}, {self._left(now)}")

    def say(self, text: str) -> None:
        """A line, above the bar if there is one."""
        self._console.print(text)

    def _left(self, now: float) -> str:
        rate = (self._done - self._before) / max(now - self._began, 1e-9)
        return f"{rate:.1f} files/s, {duration((self._total - self._done) / rate)} left"


def duration(seconds: float) -> str:
    """Seconds in words that fit their size."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
