"""Write video files with PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from videopool.files import atomic_write

# Without cpu-independent=1, x264 reads uninitialized memory in sizes that are not multiples of 16, so that its files
# differ from run to run.
_ENCODING = {"crf": "18", "preset": "veryfast", "x264-params": "cpu-independent=1"}


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


def write_video(path: Path, images: np.ndarray, fps: int | Fraction) -> None:
    """Write uint8 [T,H,W,3], H and W even, as H.264 in mp4; ``path`` exists only if the file is complete."""
    import av

    with (
        atomic_write(path) as temporary,
        OutputFile(temporary, path) as file,
        av.open(file, "w", format="mp4") as container,
    ):
        stream: Any = container.add_stream("libx264", rate=Fraction(fps), options=_ENCODING)
        stream.height, stream.width = images.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 12
        stream.thread_count = 1
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
