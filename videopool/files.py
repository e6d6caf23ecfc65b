"""Files that are written whole or not at all, names that are not UTF-8, and text that may leave this machine."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place once everything is on the disk; gone after an error.

    An OSError that names no file, as that of a full disk, names ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())  # some libraries write for the owner alone
        temporary.replace(path)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write ``text`` to ``path`` as UTF-8, whole or not at all; return ``path``.

    Names of files that are not UTF-8, which Python holds as surrogates, are escaped as ``\\udce9``. In the strings of a
    JSON file that is the escape from which ``json.loads`` returns the same name.
    """
    with written_whole(path) as temporary:
        temporary.write_text(printable(text), encoding="utf-8")
    return path


def printable(text: str) -> str:
    """Return ``text`` with the surrogates of names that are not UTF-8 escaped, so that it can be encoded."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


_ABSOLUTE = re.compile(r"(?<![\w./:~)\]-])/[^\s,;:'\"(){}\[\]]+")


def portable(text: str, *places: Path) -> str:
    """``text`` without the places of this machine: what lies below one of ``places``, or below the working directory,
    is named from there; of any other absolute path only the last part stays."""
    bases = [f"{place}{os.sep}" for place in (*places, Path.cwd())]
    return _ABSOLUTE.sub(lambda found: _portable_path(found.group(), bases), text)


def _portable_path(path: str, bases: Sequence[str]) -> str:
    base = next((base for base in bases if path.startswith(base)), None)
    return f".../{Path(path).name}" if base is None else path.removeprefix(base)
