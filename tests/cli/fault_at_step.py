"""``python fault_at_step.py FAULT FOLDER SCRIPT ARGUMENTS...`` runs a tool whose file system fails after a logged step.

``FOLDER`` is a small file system that only this process sees; it is copied to ``FOLDER.copy`` at the end. Exit code 77:
this process may not mount file systems.
"""

import contextlib
import ctypes
import os
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

from videopool.engine.watching.log import RunLog

_NEW_MOUNTS, _READ_ONLY, _REMOUNT, _BIND, _PRIVATE = 0x20000, 1, 32, 1 << 12, 1 << 18 | 1 << 14
_LIBC = ctypes.CDLL(None, use_errno=True)


def mount(folder: Path, *, flags: int = 0, source: Path = Path("tmpfs"), kind: bytes = b"tmpfs") -> None:
    data = b"size=3m" if not flags else None
    if _LIBC.mount(os.fsencode(source), os.fsencode(folder), kind, flags, data):
        raise OSError(ctypes.get_errno(), "mount")


def fill(folder: Path) -> None:
    """Leave no free block."""
    with contextlib.suppress(OSError):
        (folder / "filler").write_bytes(bytes(3 << 20))


def make_read_only(folder: Path) -> None:
    """Cover the file system by a read-only view of it: the lock of the run is open for writing below."""
    mount(folder, flags=_BIND, source=folder)
    mount(folder, flags=_BIND | _REMOUNT | _READ_ONLY, source=folder)


FAULTS = {
    ("full", 3): fill,
    ("full", 7): lambda folder: (folder / "filler").unlink(),
    ("full at the end", 7): fill,
    ("read-only", 3): make_read_only,
    ("renamed", 3): lambda folder: (folder / "run").rename(folder / "elsewhere"),
}


def main() -> None:
    fault, folder, *command = sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]
    if _LIBC.unshare(_NEW_MOUNTS) or _LIBC.mount(b"none", b"/", None, _PRIVATE, None):
        sys.exit(77)
    mount(folder)
    original = RunLog.training

    def training(self: RunLog, values: dict[str, Any]) -> None:
        original(self, values)
        FAULTS.get((fault, values["step"]), lambda folder: None)(folder)

    RunLog.training = training
    sys.argv = command
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        shutil.copytree(folder, f"{folder}.copy")


if __name__ == "__main__":
    main()
