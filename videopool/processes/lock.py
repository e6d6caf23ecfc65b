"""Locks between processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from videopool.errors import InputError


@contextlib.contextmanager
def locked(path: Path, *, busy: str | None = None) -> Iterator[None]:
    """Hold the lock on the file ``path`` in the ``with`` block. The system releases it when the process ends.

    Args:
        path: created if needed, with its folder; it stays, empty, after the lock is released.
        busy: the error if another process holds the lock. None waits for it.

    Raises:
        InputError: with the text ``busy``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path, timeout=-1 if busy is None else 0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise InputError(busy or "") from None
    try:
        yield
    finally:
        lock.release()
