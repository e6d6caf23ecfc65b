"""How many cores and threads a process uses."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_per_process(processes: int) -> int:
    """Return how many threads each of ``processes`` processes gets when they share the cores.

    0 means that torch decides: for a single process, or if OMP_NUM_THREADS is set.
    """
    if processes == 1 or "OMP_NUM_THREADS" in os.environ:
        return 0
    return max(1, usable_cores() // processes)


def limit_threads(threads: int) -> None:
    """Let torch compute with ``threads`` threads; 0 changes nothing."""
    if threads:
        import torch

        torch.set_num_threads(threads)
