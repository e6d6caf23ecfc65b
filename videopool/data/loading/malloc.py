"""Settings of the C library's allocator, for processes that decode one clip after another."""

from __future__ import annotations

import contextlib
import ctypes

# From <malloc.h> of the GNU C library.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 256 * 1024 * 1024
_MMAP_BYTES = 32 * 1024 * 1024  # the largest threshold that it accepts


def keep_freed_memory() -> None:
    """Keep the buffers that a clip frees for the next one, and share freed memory between all threads.

    By default the GNU C library returns large buffers to the system at once, which costs a page fault for every 4 KB of
    the next clip, and each new thread gets its own arena, whose memory no other thread can use. Other C libraries are
    not changed.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, _MMAP_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
