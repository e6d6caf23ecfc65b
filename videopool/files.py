"""Atomic writes of files, names that are not UTF-8, and text without paths of this machine."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


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
