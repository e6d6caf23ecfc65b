"""SHA-256 digests of checkpoints, each in a file next to it. ``sha256sum -c *.sha256`` checks them.

The digest of ``last.pt`` is the first line of ``last.pt.sha256``; those of its shards follow, if it has any
(``engine.checkpoints.shards``). A file without a digest counts as intact.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from videopool.files import write_text

_SUFFIX = ".sha256"


def digest_file(path: Path) -> Path:
    """Return the file that holds the digest of ``path``."""
    return path.with_name(path.name + _SUFFIX)


def write_digests(path: Path, digests: Mapping[str, str]) -> None:
    """Write the digests of ``path`` and its shards, by their paths in its folder, in the format of ``sha256sum``."""
    write_text(digest_file(path), "".join(f"{digest}  {name}\n" for name, digest in digests.items()))


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

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._file.tell()

    def fileno(self) -> int:
        """Return the descriptor of the file."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextlib.contextmanager
def hashing_file(path: Path) -> Iterator[HashingFile]:
    """Open ``path`` for writing with torch.save in a ``with`` block. A full disk raises OSError, not RuntimeError."""
    with path.open("wb") as file:
        hashing = HashingFile(file)
        try:
            yield hashing
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise hashing.error or OSError(f"{path} could not be written ({reason})") from error
