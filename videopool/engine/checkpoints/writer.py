"""Checkpoints written by a thread while training continues.

A training step waits for the copy of the state to host memory and, if the checkpoint before is still being written, for
that, too. On a CPU, the state is in memory twice: the tensors in use and their copy.
"""

from __future__ import annotations

import copy
import errno
from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from videopool.engine.checkpoints.files import CheckpointFolder

_REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Make {} writable"),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ESTALE), "Restore the folder {}"),
}


class SaveError(Exception):
    """A checkpoint could not be written. ``remedy`` is what to do, as the start of a sentence."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class CheckpointWriter:
    """Writes the checkpoints of a folder in a thread, one at a time.

    Attributes:
        step: of the last checkpoint that was written or is being written; 0: none.
    """

    def __init__(self, folder: CheckpointFolder) -> None:
        self.folder = folder
        self._copy = HostCopy()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[Path] | None = None
        self.step = 0

    @property
    def done(self) -> bool:
        """Whether no checkpoint is being written."""
        return self._pending is None or self._pending.done()

    def save(self, state: dict[str, Any], *, is_best: bool = False) -> None:
        """Copy ``state`` to host memory and start to write it. Call ``wait`` first.

        Later changes of the tensors in ``state`` do not change what is written.
        """
        assert self._pending is None
        copied = self._copy(state)
        self.step = state["step"]
        self._pending = self._thread.submit(self.folder.save, copied, is_best=is_best)

    def wait(self) -> None:
        """Wait for the checkpoint that is being written.

        Raises:
            SaveError: if it could not be written; once for each checkpoint.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            pending.result()
        except OSError as error:
            remedy = _REMEDIES.get(error.errno or 0, "Free space in {}").format(self.folder.folder)
            reason, step = error.strerror or error, self.step
            self.step = 0
            raise SaveError(f"the checkpoint of step {step} could not be written: {reason}", remedy) from error

    def close(self) -> None:
        """Wait for the checkpoint that is being written, and end the thread."""
        self._thread.shutdown()


class HostCopy:
    """Copies nested dictionaries, lists and tuples with their tensors to host memory.

    Each copy uses the memory of the copy before, so it is valid until the next one. Copies of CUDA tensors are in
    page-locked memory. Tensors that share their elements, such as tied weights, are copied once.
    """

    def __init__(self) -> None:
        self._before: dict[Hashable, torch.Tensor] = {}

    def __call__(self, value: Any) -> Any:
        """Return the copy of ``value``."""
        now: dict[Hashable, torch.Tensor] = {}
        shared: dict[tuple[Any, ...], torch.Tensor] = {}
        copied = self._copied(value, (), now, shared)
        if any(place[-1].type == "cuda" for place in shared):  # the copies run in the background
            torch.cuda.current_stream().synchronize()
        self._before = now
        return copied

    def _copied(self, value: Any, place: tuple[Hashable, ...], now: dict, shared: dict) -> Any:
        if isinstance(value, torch.Tensor):
            key = (value.data_ptr(), value.shape, value.stride(), value.dtype, value.device)
            if key not in shared:
                shared[key] = now[place] = self._copied_tensor(value, self._before.get(place))
            return shared[key]
        if isinstance(value, dict):
            result = copy.copy(value)  # keeps the versions of layers, an attribute of a state dict
            for key, item in value.items():
                result[key] = self._copied(item, (*place, key), now, shared)
            return result
        if isinstance(value, (list, tuple)):
            return type(value)(self._copied(item, (*place, i), now, shared) for i, item in enumerate(value))
        return value

    def _copied_tensor(self, tensor: torch.Tensor, before: torch.Tensor | None) -> torch.Tensor:
        """Return a copy of ``tensor`` with its strides, in the memory of ``before`` if that fits."""
        fits = before is not None and (before.shape, before.stride(), before.dtype) == (
            tensor.shape,
            tensor.stride(),
            tensor.dtype,
        )
        if before is None or not fits:
            before = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda, requires_grad=False)
        with torch.no_grad():
            return before.copy_(tensor, non_blocking=True)
