"""What was done so far, a line of JSON for each file, so that work that was stopped or killed goes on from there."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from videopool.errors import InputError

_LONGEST_LINE = 1 << 20  # bytes


class Journal:
    """The journal at ``path``, open for this process alone; entered and left with ``with``.

    Its first line holds ``settings``, with which all of it is done.

    Raises:
        InputError: where another process writes it, it was begun with other settings, or it is no journal.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._begin(settings)
        except BlockingIOError:
            self._file.close()
            raise InputError(f"{path}: another process writes it; wait for that, or name another place") from None
        except (InputError, OSError):
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._file.close()

    def entries(self) -> Iterator[dict[str, Any]]:
        """The lines that were written so far, first ones first."""
        with self.path.open(encoding="utf-8") as file:
            next(file)
            yield from map(json.loads, file)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write a line; it stays when this process is killed the moment after."""
        self._write(json.dumps(entry) + "\n")

    def _write(self, line: str) -> None:
        """Raises OSError with the path; of a line that does not fit, nothing waits to be written later."""
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
            self._cut()
        elif header.startswith(first):  # it is new, or was killed while it wrote its first line
            self._file.truncate(0)
            self._write(header)
        else:
            raise InputError(f"{self.path}: {_difference(first, settings)}")

    def _cut(self) -> None:
        """Takes off a last line that was not written to its end."""
        with self.path.open("rb+") as file:
            begin = file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_LINE))
            file.truncate(begin + file.read().rfind(b"\n") + 1)


def _difference(first: str, settings: Mapping[str, Any]) -> str:
    try:
        begun = _words(json.loads(first)["settings"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return "is not what was expected there; move it away"
    return f"was begun with {begun}, this is {_words(settings)}; give the same again, or another place with --to"


def _words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
