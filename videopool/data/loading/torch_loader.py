"""The private parts of torch's DataLoader that this package uses. No other module touches them.

torch offers no way to see the worker processes of a DataLoader, to notice at once that one has died or hangs, or to
stop them before it is deleted. ``tests/data/test_torch_loader.py`` checks these parts against the installed torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import DataLoader

Get = Callable[[float], tuple[bool, Any]]  # waits that many seconds for a batch: whether one arrived, and the batch


def has_workers(loader: DataLoader[Any]) -> bool:
    """Return whether the worker processes of ``loader`` are running (they are persistent)."""
    return loader._iterator is not None


def worker_processes(loader: DataLoader[Any]) -> Sequence[BaseProcess]:
    """Return the worker processes of ``loader``, by number; none if they are not running."""
    return getattr(loader._iterator, "_workers", [])


def watch(loader: DataLoader[Any], get: Callable[[Get], tuple[bool, Any]]) -> None:
    """Let the running ``loader`` wait for batches with ``get``, which is given torch's own function for that."""
    iterator: Any = loader._iterator
    original = iterator._try_get_data
    iterator._try_get_data = lambda: get(original)


def stop_workers(loader: DataLoader[Any]) -> None:
    """Stop the worker processes of ``loader``, if there are any; the next iteration starts new ones."""
    iterator, loader._iterator = loader._iterator, None
    if iterator is not None and hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()
