"""Atomic writes of files, files of numbers, names that are not UTF-8, and text without paths of this machine."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from videopool.errors import InputError
from videopool.ranges import Range


def read_numbers(
    path: Path, *, count: int, items: str, allowed: Range, setting: str, form: str, counting: str, value: str = ""
) -> list[float]:
    """Read a text file of ``count`` numbers, one in each line.

    Args:
        path: the file.
        count: how many numbers are expected.
        items: what has a number, such as ``"videos"``.
        allowed: the range of each number.
        setting: the argument that names the file, for errors.
        form, counting, value: sentences that say what to do about a file that cannot be read, another number of lines,
            and a wrong number.

    Raises:
        InputError: for each of these.
    """
    try:
        lines = path.read_text(encoding="utf-8").rstrip().splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read ({reason}). {form}", setting=setting) from None
    if len(lines) != count:
        raise InputError(f"{path} has {len(lines)} lines for {count} {items}. {counting}", setting=setting)
    numbers = [_number(line) for line in lines]
    for place, number in enumerate(numbers):
        if number not in allowed:
            wanted = f"{'' if allowed.above else 'of '}{allowed}"
            message = f"{path}:{place + 1}: {lines[place]!r} must be a number {wanted}. {value}"
            raise InputError(message.rstrip(), setting=setting)
    return numbers


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


@contextlib.contextmanager
def naming_file(path: str | Path) -> Iterator[None]:
    """Add ``path`` to an OSError of the ``with`` block that names no file, such as that of a write to a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def _read_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


_UMASK = _read_umask()  # once: reading it changes it for a moment, also for other threads


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` at the end of the ``with`` block, or is removed after an error.

    An OSError that names no file, such as that of a full disk, is changed to name ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_UMASK)  # some libraries create files that only their owner can read
        temporary.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names in ``folder`` are on the disk, so that files renamed there survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of ``atomic_write`` that killed processes left in ``folder``."""
    for leftover in folder.glob("*.tmp-*"):
        leftover.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write ``text`` to ``path`` atomically as UTF-8 and return ``path``.

    Surrogates are escaped (see ``escape_surrogates``). In the strings of a JSON file, ``json.loads`` reads the escape
    back as the same name.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(escape_surrogates(text), encoding="utf-8")
    return path


def finite_values(value: Any) -> Any:
    """Return nested dictionaries, lists and tuples with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {name: finite_values(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite_values(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def escape_surrogates(text: str) -> str:
    """Return ``text`` with surrogates escaped as in ``\\udce9``, so that it can be encoded.

    Python represents the bytes of file names that are not UTF-8 by surrogates.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


_ABSOLUTE = re.compile(r"(?<![\w./:~)\]-])/[^\s,;:'\"(){}\[\]]+")


def strip_local_paths(text: str, *places: Path) -> str:
    """Return ``text`` without the absolute paths of this machine.

    Paths inside one of ``places`` or the working directory become relative to it; any other becomes ``.../name``.
    """
    bases = [f"{place}{os.sep}" for place in (*places, Path.cwd())]
    return _ABSOLUTE.sub(lambda found: _relative(found.group(), bases), text)


def _relative(path: str, bases: Sequence[str]) -> str:
    base = next((base for base in bases if path.startswith(base)), None)
    return f".../{Path(path).name}" if base is None else path.removeprefix(base)
