"""How the C library keeps memory, for processes that decode one clip after the other."""

from __future__ import annotations

import contextlib
import ctypes

# Of <malloc.h> of the GNU C library.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 256 * 1024 * 1024
_MAPPED_ALONE_BYTES = 32 * 1024 * 1024  # the most it accepts


def keep_freed_memory() -> None:
    """Buffers that a clip has freed are there for the next one, and all threads share what was freed.

    By default the library gives large buffers back to the system at once, which costs a page fault for every 4 KB of
    the next clip, and each new thread begins an arena of its own, with memory that no other thread can use. Where there
    is another C library nothing changes.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, _MAPPED_ALONE_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
