"""One run in a folder at a time."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videopool.errors import InputError
from videopool.files import escape_surrogates, write_text
from videopool.processes.lock import locked

if TYPE_CHECKING:
    from videopool.engine.cluster.distributed import World

_LOCK, _HOLDER = ".run.lock", ".run.holder"
_LEASE_SECONDS = 120  # an NFS server keeps the locks of a machine that has crashed for its lease, 90 s by default


@contextlib.contextmanager
def reserved(folder: Path, world: World) -> Iterator[None]:
    """Reserve ``folder`` for the processes of ``world`` in the ``with`` block.

    The main process holds the lock, which the system releases when that process ends, even if it is killed. On a
    network file system this works if its server supports locks. If another machine holds the lock, this waits for two
    minutes, because that machine may have crashed.

    Raises:
        InputError: on every process, if another run uses the folder.
        OSError: if the folder cannot be created.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    with contextlib.ExitStack() as held:
        failure = _reserve(folder, held) if world.main else None
        message = world.gather(str(failure) if failure else "")[0]
        if failure or message:
            raise failure or InputError(message)
        try:
            yield
        except BaseException:
            if world.main and new:
                _remove_unused(new)
            raise


def _reserve(folder: Path, held: contextlib.ExitStack) -> InputError | OSError | None:
    """Take the lock and write down who holds it, or return the error."""
    deadline = time.monotonic() if _is_local(folder) else time.monotonic() + _LEASE_SECONDS
    while True:
        try:
            held.enter_context(locked(folder / _LOCK, busy="busy"))
            break
        except InputError:
            if time.monotonic() >= deadline:
                return InputError(
                    f"{escape_surrogates(str(folder))} is in use by another run ({_holder(folder)}). Wait for it to "
                    "end, or choose another folder with out=."
                )
            time.sleep(1)
        except OSError as error:
            return error
    with contextlib.suppress(OSError):  # a full disk; the lock is held
        write_text(folder / _HOLDER, f"process {os.getpid()} on {socket.gethostname()}\n")
    return None


def _is_local(folder: Path) -> bool:
    """Return whether the process that holds the lock is on this machine, or unknown."""
    holder = _holder(folder)
    return " on " not in holder or holder.endswith(f" on {socket.gethostname()}")


def _holder(folder: Path) -> str:
    with contextlib.suppress(OSError):
        return (folder / _HOLDER).read_text(encoding="utf-8").strip() or "unknown process"
    return "unknown process"


def _remove_unused(folders: Sequence[Path]) -> None:
    """Remove the new ``folders``, the run's first and then its parents, unless something was written in them."""
    with contextlib.suppress(OSError):
        if {path.name for path in folders[0].iterdir()} <= {_LOCK, _HOLDER}:
            for name in (_LOCK, _HOLDER):
                (folders[0] / name).unlink(missing_ok=True)
            for folder in folders:
                folder.rmdir()
