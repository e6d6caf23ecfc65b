"""Errors of a run of several processes: each is printed once on every machine, and kept for torchrun's summary.

This module does not import torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from videopool.engine.cluster.launch import read_launch
from videopool.errors import InputError

if TYPE_CHECKING:
    from videopool.engine.cluster.distributed import World
    from videopool.engine.cluster.rendezvous import Peers

_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"  # set by torchrun: the file of this process
_STOPPED = "stopped.json"


def report_error(sentence: str, peers: Peers | None = None) -> None:
    """Record an error for torchrun, and print it unless another process of this machine has printed the same one.

    Args:
        sentence: what is wrong and what to do.
        peers: the processes of the run, if they have met.
    """
    record_error(sentence, sentence)
    if first_on_host(sentence, peers):
        own = _own_name(peers)
        named = not own or re.search(r"\bprocess(es)? \d", sentence, re.IGNORECASE)
        print(f"error: {sentence}" if named else f"error ({own}): {sentence}", file=sys.stderr, flush=True)


def _own_name(peers: Peers | None) -> str:
    """Return ``process 3 on node02``, or "" for a process that is alone."""
    try:
        launch = peers.launch if peers else read_launch(os.environ)
    except InputError:  # which is then the error to report
        return ""
    return f"process {launch.rank} on {socket.gethostname()}" if launch.size > 1 else ""


def record_exception(error: BaseException) -> None:
    """Record an exception and its traceback for torchrun's summary."""
    record_error(f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))


def record_error(message: str, details: str) -> None:
    """Write torchrun's error file, in the format of ``torch.distributed.elastic.multiprocessing.errors``.

    torchrun shows the details of the process that wrote first as the root cause. Later errors of a process are ignored.
    """
    path = os.environ.get(_ERROR_FILE)
    if not path or Path(path).exists():
        return
    extra = {"py_callstack": details, "timestamp": str(int(time.time()))}
    with contextlib.suppress(OSError):
        Path(path).write_text(json.dumps({"message": {"message": message, "extraInfo": extra}}), encoding="utf-8")


def record_stop(folder: str, world: World, step: int) -> None:
    """Record that a run was stopped on request, in ``stopped.json`` in its ``folder`` and in torchrun's error file.

    torchrun replaces the exit code by 1. A scheduler can read ``stopped.json`` instead to start the run again. All
    processes must call this; none returns before the file is written, because srun kills the tasks of a job step after
    the first one that exits with another code than 0.
    """
    record_error("Stopped", f"stopped on request at step {step}; run the same command again to resume")
    if world.main:
        with contextlib.suppress(OSError):
            (Path(folder) / _STOPPED).write_text(
                json.dumps({"step": step, "time": time.time()}) + "\n", encoding="utf-8"
            )
    world.gather(None)


def forget_stop(folder: str, world: World) -> None:
    """Remove the ``stopped.json`` of an earlier stop when training continues."""
    if world.main:
        with contextlib.suppress(OSError):
            (Path(folder) / _STOPPED).unlink(missing_ok=True)


def first_on_host(sentence: str, peers: Peers | None) -> bool:
    """Return whether this process is the first of its machine to report ``sentence``; True if this is unknown."""
    digest = hashlib.sha256(sentence.encode(errors="surrogateescape")).hexdigest()[:16]
    path = os.environ.get(_ERROR_FILE)
    if path:  # torchrun: a folder for each attempt on each machine, with one for each process
        try:
            os.close(os.open(Path(path).parents[1] / f"reported-{digest}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        except OSError:
            return True
        return True
    if peers is not None:
        with contextlib.suppress(RuntimeError):  # the store is gone
            return peers.first_on_host(digest)
    return True
