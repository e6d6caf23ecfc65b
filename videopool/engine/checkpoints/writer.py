"""Checkpoints written by a thread while training continues.

A training step waits for the copy of the state to host memory and, if the checkpoint before is still being written, for
that, too. On a CPU, the state is in memory twice: the tensors in use and their copy. The main process writes, or all
processes write their parts of the tensors, if these are divided among them.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from videopool.engine.checkpoints.files import CheckpointFolder, write_checkpoint, write_sharded
from videopool.engine.checkpoints.nested import Place, map_tensors
from videopool.engine.checkpoints.shard_folders import free_shards
from videopool.engine.cluster.distributed import World
from videopool.engine.cluster.sharding import is_divided, with_part

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

    Args:
        folder: of the checkpoints.
        world: this process among all; None: the only one.
        sharded: whether the tensors are divided among the processes. All of them must then call ``save`` and ``write``
            together; otherwise these do nothing on other processes than the main one.

    Attributes:
        step: of the last checkpoint that was written or is being written; 0: none.
    """

    def __init__(self, folder: CheckpointFolder, world: World | None = None, *, sharded: bool = False) -> None:
        self.folder = folder
        self._world, self._sharded = world, sharded and world is not None
        self._takes_part = world is None or world.main or sharded
        self._group = world.open_group() if world is not None and sharded else None
        self._copy = HostCopy()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[object] | None = None
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
        save: Callable[..., object] = self.folder.save
        if self._sharded:
            name = self._agreed(self.folder.free_shards(state["step"]))
            save = functools.partial(self.folder.save_shards, name=name, group=self._group)
        if self._takes_part:
            copied = self._copy(state)
            self.step = state["step"]
            self._pending = self._thread.submit(save, copied, is_best=is_best)

    def write(self, path: Path, state: dict[str, Any]) -> None:
        """Write ``state`` to another file. Call ``wait`` first.

        Raises:
            OSError: if it could not be written.
        """
        if self._sharded:
            name = self._agreed(free_shards(path))
            self._thread.submit(write_sharded, path, self._copy(state), name, self._group).result()
        elif self._takes_part:
            write_checkpoint(path, state)

    def _agreed(self, name: str) -> str:
        """Return the ``name`` of the main process."""
        assert self._world is not None
        return str(self._world.gather(name)[0])

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
    page-locked memory. Tensors that share their elements, such as tied weights, are copied once. Of a tensor that is
    divided among processes, the part of this process is copied.
    """

    def __init__(self) -> None:
        self._before: dict[Place, torch.Tensor] = {}

    def __call__(self, value: Any) -> Any:
        """Return the copy of ``value``."""
        now: dict[Place, torch.Tensor] = {}
        shared: dict[tuple[Any, ...], torch.Tensor] = {}

        def copied(place: Place, tensor: torch.Tensor) -> torch.Tensor:
            if is_divided(tensor):
                return with_part(tensor, copied(place, tensor.to_local()))  # type: ignore[attr-defined]
            key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
            if key not in shared:
                shared[key] = now[place] = self._copied_tensor(tensor, self._before.get(place))
            return shared[key]

        result = map_tensors(copied, value)
        if any(place[-1].type == "cuda" for place in shared):  # the copies run in the background
            torch.cuda.current_stream().synchronize()
        self._before = now
        return result

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
