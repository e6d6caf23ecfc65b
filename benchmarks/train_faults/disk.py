"""A small file system for a run, seen by this process and its children only, that can be full or read-only for a while.

Mounting needs the rights of the superuser. Everything disappears with the last process that sees it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_MOUNTS, _READ_ONLY, _REMOUNT, _BIND, _PRIVATE, _DETACH = 0x20000, 1, 32, 1 << 12, 1 << 18 | 1 << 14, 2
_SIZE = b"size=2g"  # videopool warns if less than 1 GiB is free


class Disk:
    """A file system at ``folder``, or the folder itself where mounting is not allowed (``mounted`` is False)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.mounted = _private_mounts() and _mount(folder)

    def close(self) -> None:
        """Unmount the file system."""
        if self.mounted:
            _call(_LIBC.umount2(os.fsencode(self.folder), _DETACH))

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Leave no free block in the ``with`` block."""
        while True:
            state = os.statvfs(self.folder)
            size = (state.f_blocks - state.f_bfree) * state.f_frsize
            if not _LIBC.mount(None, os.fsencode(self.folder), None, _REMOUNT, f"size={size}".encode()):
                break  # fails if the files have grown meanwhile
        try:
            yield
        finally:
            _call(_LIBC.mount(None, os.fsencode(self.folder), None, _REMOUNT, _SIZE))

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """Cover the file system by a read-only view of it in the ``with`` block."""
        _call(_LIBC.mount(os.fsencode(self.folder), os.fsencode(self.folder), None, _BIND, None))
        try:
            _call(_LIBC.mount(None, os.fsencode(self.folder), None, _BIND | _REMOUNT | _READ_ONLY, None))
            yield
        finally:
            _call(_LIBC.umount2(os.fsencode(self.folder), _DETACH))


def private_tmpfs(folder: Path) -> bool:
    """Cover ``folder`` by an empty file system that only this process and its children see, if that is allowed."""
    return _private_mounts() and _mount(folder)


def _private_mounts() -> bool:
    return not _LIBC.unshare(_NEW_MOUNTS) and not _LIBC.mount(b"none", b"/", None, _PRIVATE, None)


def _mount(folder: Path) -> bool:
    return not _LIBC.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, _SIZE)


def _call(code: int) -> None:
    if code:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
