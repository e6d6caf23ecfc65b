"""A file that PyAV writes a video to."""

from __future__ import annotations

from pathlib import Path


class OutputFile:
    """A new file to give to ``av.open``, a context manager that raises the first error of a write.

    PyAV ignores that the disk is full if it is given a path, and crashes if a file object raises. So errors are kept,
    and the writes after one are left out.

    Args:
        path: the file, which is replaced.
        name: what errors call it; by default, its path.

    Raises:
        OSError: if the file cannot be opened.
    """

    def __init__(self, path: Path, name: Path | None = None) -> None:
        self._file = path.open("wb", buffering=0)
        self._name = str(name or path)
        self._error: OSError | None = None

    def __enter__(self) -> OutputFile:
        return self

    def __exit__(self, kind: object, *raised: object) -> None:
        self._file.close()
        if kind is None:
            self.check()

    def write(self, data: bytes) -> int:
        """Write all of ``data``."""
        left = memoryview(data)
        try:
            while left and self._error is None:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._error = error
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position, as for other files."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def check(self) -> None:
        """Raise the OSError of the first write that failed, with the name of the file."""
        if self._error is not None:
            self._error.filename = self._name
            raise self._error
