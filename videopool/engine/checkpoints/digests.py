"""SHA-256 digests of checkpoints, each in a file next to it. ``sha256sum -c *.sha256`` checks them.

The digest of ``last.pt`` is in ``last.pt.sha256``. A file without a digest, from an older version, counts as intact.
"""

from __future__ import annotations

import contextlib
import hashlib
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from videopool.files import write_text

_SUFFIX = ".sha256"


def digest_file(path: Path) -> Path:
    """Return the file that holds the digest of ``path``."""
    return path.with_name(path.name + _SUFFIX)


def write_digest(path: Path, digest: str) -> None:
    """Write the digest of ``path`` in the format of ``sha256sum``."""
    write_text(digest_file(path), f"{digest}  {path.name}\n")


def remove_with_digest(path: Path) -> None:
    """Remove ``path`` and its digest, if they exist."""
    path.unlink(missing_ok=True)
    digest_file(path).unlink(missing_ok=True)


def remove_digests_without_file(folder: Path) -> None:
    """Remove the digests in ``folder`` whose files no longer exist."""
    for entry in folder.glob(f"*{_SUFFIX}"):
        if not entry.with_suffix("").exists():
            entry.unlink(missing_ok=True)


def is_intact(path: Path, file: BufferedReader) -> bool:
    """Return whether the content of ``file``, opened at ``path``, has the recorded digest; True if none is recorded.

    The digest of another file in the folder counts too, so that one checkpoint can be copied over another.
    """
    expected = _read_digest(digest_file(path))
    if not expected:
        return True
    file.seek(0)
    found = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(0)
    return found == expected or any(found == _read_digest(entry) for entry in path.parent.glob(f"*{_SUFFIX}"))


def _read_digest(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").partition(" ")[0].strip()
    return ""


class HashingFile:
    """A file opened for writing that hashes what is written to it.

    Attributes:
        error: the OSError of a write, or None. torch.save replaces it by a RuntimeError without the reason.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.error: OSError | None = None
        self._file = file
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        """The digest of everything written so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes | memoryview) -> int:
        """Write and hash ``data``."""
        self._hash.update(data)
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()
