"""Decoding closes files and leaves no memory allocated."""

from __future__ import annotations

import ctypes
import functools
import gc
import queue
import threading
import types
import weakref
from pathlib import Path

import pytest

from tests.data.test_display_matrix import with_matrix
from videopool.data.decoding import pyav_reader, timeout
from videopool.data.decoding.decode import open_video
from videopool.data.decoding.reader import DecodeError
from videopool.data.decoding.timeout import with_timeout


def test_files_are_closed(tmp_path, decoder, write_video):
    path = write_video(tmp_path / "v.mp4", 30)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(path.read_bytes()[:1000])

    def read_both() -> None:
        with open_video(path, decoder=decoder) as reader:
            reader.frames_at([0.0, 1.5])
        with pytest.raises(DecodeError), open_video(broken, decoder=decoder):
            pass

    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs /proc, as on Linux")
    read_both()
    before = sum(1 for _ in descriptors.iterdir())
    for _ in range(10):
        read_both()
    assert sum(1 for _ in descriptors.iterdir()) <= before


class _Malloc(ctypes.Structure):
    """``struct mallinfo2`` of <malloc.h>."""

    _fields_ = [(name, ctypes.c_size_t) for name in ["ar", "or", "sm", "hb", "hd", "us", "fs", "uordblks", "fo", "ke"]]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="this C library does not count its memory")
@pytest.mark.parametrize("plain", [True, False])
def test_clips_leave_no_memory_allocated(tmp_path, write_video, monkeypatch, plain):
    """Even a small rest of each clip would keep malloc from joining the large buffers around it."""
    path = write_video(tmp_path / "a.mp4", 12, size=(48, 48))
    if not plain:
        monkeypatch.setattr(pyav_reader, "index_times", lambda container, source: None)
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Malloc

    def used(clips: int) -> int:
        for _ in range(clips):
            with open_video(path, decoder="pyav") as video:
                video.frames_at([0.1, 0.2])
        return mallinfo().uordblks

    begin = used(50)
    assert (used(300) - begin) / 300 < 50  # bytes; generators of PyAV that are dropped leave 150


@pytest.mark.slow
def test_rotated_clips_leave_no_objects(tmp_path, write_video):
    path = with_matrix(write_video(tmp_path / "plain.mp4", 12, size=(64, 48)), tmp_path / "t.mp4", (0, 1, -1, 0))
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(50):
        with open_video(path, decoder="pyav") as video:
            video.frames_at([0.1, 0.2])
    assert len(gc.get_objects()) - before < 50  # otherwise a frame and its side data remain for each clip


def test_the_decoding_thread_keeps_nothing_that_the_caller_drops(monkeypatch) -> None:
    class Resource:
        """What a decode holds."""

    class SlowQueue:
        """A queue whose ``put`` returns late in the decoding thread, when the caller has long continued."""

        def __init__(self) -> None:
            self.get, self._put = (inner := queue.SimpleQueue()).get, inner.put

        def put(self, item: object) -> None:
            self._put(item)
            if threading.current_thread().name == "decode":
                checked.wait(20)

    checked = threading.Event()
    monkeypatch.setattr(timeout, "queue", types.SimpleNamespace(SimpleQueue=SlowQueue, Empty=queue.Empty))
    resource = Resource()
    alive = weakref.ref(resource)
    assert with_timeout(functools.partial(isinstance, resource, Resource), path="video", seconds=20)
    del resource
    assert alive() is None
    checked.set()
