"""The location of a video's bytes: a file, a part of a file (a member of a tar), or memory."""

from __future__ import annotations

import dataclasses
import io
import os
import stat
from pathlib import Path

from videopool.data.decoding.reader import DecodeError
from videopool.types import VideoRecord


@dataclasses.dataclass(frozen=True)
class Source:
    """A video that can be opened: the file ``path``, its ``part`` (offset, size in bytes), or ``data`` in memory.

    ``name`` is its name in errors.
    """

    path: Path | None = None
    part: tuple[int, int] | None = None
    data: bytes | None = None

    @property
    def name(self) -> str:
        if self.path is None:
            return f"<{len(self.data or b'')} bytes in memory>"
        return str(self.path) if self.part is None else f"{self.path}#{self.part[0]}"

    def check(self) -> None:
        """Raise DecodeError if there is nothing to read: decoders have poor messages for missing and empty files."""
        size = self._file_size()
        if self.part is not None and sum(self.part) > size:
            raise DecodeError(
                self.name, f"is truncated: the tar file ends after {size} bytes, in the middle of this member"
            )
        if size == 0 or (self.part is not None and self.part[1] == 0):
            raise DecodeError(self.name, "is empty")

    def size(self) -> int:
        """Return the number of bytes of the video."""
        return self.part[1] if self.part is not None else self._file_size()

    def _file_size(self) -> int:
        if self.path is None:
            return len(self.data or b"")
        try:
            found = self.path.stat()
        except OSError as error:
            raise DecodeError(self.name, f"cannot be read ({error.strerror or type(error).__name__})") from None
        if stat.S_ISDIR(found.st_mode):
            raise DecodeError(self.name, "is a folder, not a file")
        if not os.access(self.path, os.R_OK):
            raise DecodeError(self.name, "cannot be read (Permission denied)")
        return found.st_size

    def for_ffmpeg(self) -> str | io.BytesIO:
        """Return what FFmpeg opens: a name, from which it reads only what it needs, or a file object."""
        if self.path is None:
            return io.BytesIO(self.data or b"")
        if self.part is None:
            return f"file:{self.path}" if ":" in str(self.path) else str(self.path)
        return f"subfile,,start,{self.part[0]},end,{sum(self.part)},,:{self.path}"

    def for_python(self) -> str | io.BytesIO:
        """Return a path or file object for libraries that cannot open a part of a file."""
        if self.part is None and self.path is not None:
            return str(self.path)
        return io.BytesIO(self.read())

    def read(self, most: int | None = None) -> bytes:
        """Return all bytes, or the first ``most``."""
        return self.read_at(0, self.size() if most is None else most)

    def read_at(self, begin: int, most: int) -> bytes:
        """Return at most ``most`` bytes from byte ``begin`` on."""
        most = max(0, min(most, self.size() - begin))
        file, start = self.open()
        with file:
            file.seek(start + begin)
            return file.read(most)

    def open(self) -> tuple[io.BufferedIOBase, int]:
        """Return an open file and the byte in it where the video begins."""
        if self.path is None:
            return io.BytesIO(self.data or b""), 0
        return self.path.open("rb"), self.part[0] if self.part is not None else 0


def source_of(video: VideoRecord | Source | bytes | str | Path) -> Source:
    """Return the source of a record, a path, or bytes."""
    if isinstance(video, Source):
        return video
    if isinstance(video, VideoRecord):
        return Source(video.path, video.part)
    if isinstance(video, bytes):
        return Source(data=video)
    return Source(Path(video))
