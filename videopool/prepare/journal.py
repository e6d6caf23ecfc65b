"""A journal of finished work, one line of JSON for each file, from which work that was stopped or killed resumes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from videopool.errors import InputError
from videopool.processes.lock import locked

_LONGEST_LINE = 1 << 20  # bytes


class Journal:
    """The journal at ``path``, open in this process alone; a context manager.

    Its first line holds ``settings``, which apply to all of it.

    Raises:
        InputError: if another process is writing it, it was started with other settings, or it is not a journal.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        lock = path.with_name(f"{path.name}.lock")
        busy = f"{path} is being written by another process. Wait for it, or choose another place."
        with contextlib.ExitStack() as opened:
            opened.enter_context(locked(lock, busy=busy))
            opened.callback(lock.unlink, missing_ok=True)
            self._file = opened.enter_context(path.open("a+", encoding="utf-8"))
            self._begin(settings)
            self._opened = opened.pop_all()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *raised: object) -> None:
        self._opened.close()

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield the lines written so far, oldest first."""
        with self.path.open(encoding="utf-8") as file:
            next(file)
            yield from map(json.loads, file)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write a line, which survives if this process is killed right after."""
        self._write(json.dumps(entry) + "\n")

    def _write(self, line: str) -> None:
        """Write without a buffer, so that nothing of a line that does not fit is written later.

        Raises OSError with the path.
        """
        content = line.encode()
        try:
            written = os.write(self._file.fileno(), content)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        if written < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def _begin(self, settings: Mapping[str, Any]) -> None:
        header = json.dumps({"settings": dict(settings)}) + "\n"
        with self.path.open(encoding="utf-8", errors="replace") as file:
            first = file.readline(_LONGEST_LINE)
        if first == header:
            self._remove_partial_line()
        elif header.startswith(first):  # the file is new, or its first line was not finished
            self._file.truncate(0)
            self._write(header)
        else:
            raise InputError(f"{self.path} {_difference(first, settings)}")

    def _remove_partial_line(self) -> None:
        with self.path.open("rb+") as file:
            begin = file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_LINE))
            file.truncate(begin + file.read().rfind(b"\n") + 1)


def _difference(first: str, settings: Mapping[str, Any]) -> str:
    try:
        earlier = _listed(json.loads(first)["settings"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return "was not written by this command. Move it elsewhere, or delete it."
    return f"was started with {earlier}, not {_listed(settings)}. Use the same settings, or choose another place."


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
