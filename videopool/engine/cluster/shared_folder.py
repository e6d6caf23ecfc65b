"""Check that all processes of a run see the same folder."""

from __future__ import annotations

import secrets
from pathlib import Path

from videopool.engine.cluster.distributed import World
from videopool.errors import InputError


def check_shared(folder: Path, world: World) -> None:
    """Raise ``InputError`` on all processes if one does not see what the main process writes to ``folder``.

    The folder is made if it does not exist. All processes must call this.
    """
    if world.size == 1:
        return
    probe = folder / world.gather(f"shared-{secrets.token_hex(8)}.part")[0]
    if world.main:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
    world.gather(None)  # the file exists now
    seen = world.gather((probe.exists(), world.host))  # all have looked
    if world.main:
        probe.unlink(missing_ok=True)
    blind = [f"process {rank} on {host}" for rank, (found, host) in enumerate(seen) if not found]
    if blind:
        raise InputError(
            f"{blind[0]} does not see the files that process 0 writes to {folder}. Give a folder on a file system that "
            "all processes share."
        )
