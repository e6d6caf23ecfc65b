"""Checkpoints of sharded training: each process writes its parts of the tensors, with torch.distributed.checkpoint.

The parts of ``step-0000123.pt`` are in the folder ``step-0000123.shards``: a file of each process, and ``.metadata``,
which says where each part of each tensor is. A part belongs to a place of its tensor, not to a process, so any number
of processes can read them. The checkpoint itself is written last: without it, the folder is not a checkpoint.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import socket
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch.distributed import ProcessGroup, get_rank
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystem, FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, StorageMeta
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from videopool.engine.checkpoints.digests import hashing_file
from videopool.engine.checkpoints.nested import Place, map_tensors, named_tensors
from videopool.engine.checkpoints.shard_folders import remove_unused_shards
from videopool.engine.cluster.sharding import is_divided
from videopool.errors import InputError
from videopool.files import sync_folder

_METADATA = ".metadata"
# What .metadata, a pickle, may contain; a pickle with other objects can run code.
_PLAIN = {
    "torch": {"Size"},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.distributed.checkpoint.metadata": {
        "ChunkStorageMetadata", "Metadata", "MetadataIndex", "TensorProperties", "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
}  # fmt: skip


def write_shards(
    state: dict[str, Any],
    folder: Path,
    group: ProcessGroup | None,
    *,
    prepare: Callable[[], None],
    commit: Callable[[dict[str, Any]], object],
) -> None:
    """Write the parts that this process has of the divided tensors in ``state``. All processes of ``group`` call this.

    Args:
        state: with tensors in host memory.
        folder: does not exist.
        group: a gloo group that nothing else uses meanwhile; None: the default group.
        prepare: called on the main process before anything is written.
        commit: called on the main process after all parts are on the disk, with the state whose divided tensors are on
            the meta device, and which has ``shards``.

    Raises:
        OSError: on all processes, if any of them could not write; the message names it. The folder is then removed,
            unless the checkpoint is complete.
        InputError: if a process does not answer within the timeout of ``group``.
    """
    parts = {name: tensor for name, tensor in named_tensors(state).items() if is_divided(tensor)}
    rest = map_tensors(lambda place, tensor: _placeholder(tensor) if is_divided(tensor) else tensor, state)
    writer = _Writer(folder, prepare, lambda shards: commit({**rest, "format": 2, "shards": shards}))
    planner = DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    try:
        save(parts, storage_writer=writer, planner=planner, process_group=group)
    except CheckpointException as error:
        if writer.is_coordinator:
            remove_unused_shards(folder.parent)  # not those of a checkpoint whose links could not be made
        _, (cause, _) = min(error.failures.items())
        if isinstance(cause, OSError):
            raise cause from error
        raise RuntimeError(f"the shards of a checkpoint could not be written: {error}") from error
    except RuntimeError as error:
        if "timed out" not in str(error).lower():
            raise
        raise InputError(
            f"the processes have not written their parts of {folder} within train.timeout; check the disk of this "
            "folder, or raise train.timeout"
        ) from error


def _placeholder(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def with_shards(state: dict[str, Any], parent: Path, *, whole: bool) -> tuple[dict[str, Any], str]:
    """Return a checkpoint from ``parent``, and why its shards cannot be used, or "".

    Args:
        state: its content, with tensors of shards on the meta device.
        parent: the folder that holds the folder of the shards.
        whole: whether to read these tensors. Otherwise the folder in ``shards`` becomes an absolute path.
    """
    folder, digests = parent / state["shards"]["folder"], state["shards"]["sha256"]
    try:
        fault = next((fault for name, digest in digests.items() if (fault := _fault(folder / name, digest))), "")
        if fault or not whole:
            return {**state, "shards": {**state["shards"], "folder": str(folder)}}, fault
        filled = map_tensors(_emptied, {name: part for name, part in state.items() if name != "shards"})
        read_shards(filled, folder)
    except (OSError, pickle.UnpicklingError) as error:
        return state, f"its folder {folder.name} cannot be read: {getattr(error, 'strerror', None) or error}"
    return {**filled, "format": 1}, ""


def _fault(path: Path, digest: str) -> str:
    """Return what is wrong with a file that should have this ``digest``, or ""."""
    shown = f"{path.parent.name}/{path.name}"
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return f"{shown} is missing"
    return "" if found == digest else f"the SHA-256 of {shown} is another one than when it was written"


def _emptied(place: Place, tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor


def read_shards(into: Mapping[str, Any], folder: Path) -> None:
    """Read the tensors in ``folder`` into those at the same places of ``into``, without the other processes.

    Of a divided tensor, only the part of this process is read.
    """
    reader = _Reader(folder)
    stored = reader.read_metadata().state_dict_metadata
    tensors = {name: tensor for name, tensor in named_tensors(into).items() if name in stored}
    planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that one process reads
            load(tensors, storage_reader=reader, planner=planner, no_dist=True)
    except CheckpointException as error:
        raise error.failures[0][0] from error


class _HashingFiles(FileSystem):
    """Opens files, and keeps the digests of what is written to them, by their names."""

    def __init__(self) -> None:
        self.digests: dict[str, str] = {}

    @contextlib.contextmanager
    def create_stream(self, path: Any, mode: str) -> Generator[Any, None, None]:
        assert mode == "wb"
        with hashing_file(Path(path)) as file:
            yield file
        self.digests[Path(path).name.removesuffix(".tmp")] = file.digest  # .metadata is renamed


class _Writer(FileSystemWriter):
    """Writes the parts of this process and, on the main process, calls ``prepare`` first and ``commit`` last.

    An exception of these methods reaches all processes.
    """

    def __init__(self, folder: Path, prepare: Callable[[], None], commit: Callable[[dict[str, Any]], object]) -> None:
        super().__init__(folder, per_thread_copy_ahead=0)
        self.fs: _HashingFiles = _HashingFiles()
        self.folder, self.is_coordinator = folder, False
        self._prepare, self._commit = prepare, commit

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        super().set_up_storage_writer(is_coordinator, *args, **kwargs)
        self.is_coordinator = is_coordinator

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        if self.is_coordinator:
            with self._named():
                self._prepare()
        return plan

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        with self._named():
            self.folder.mkdir(parents=True, exist_ok=True)
            written = super().write_data(plan, planner).wait()
            sync_folder(self.folder)
        digests = [WriteResult(MetadataIndex(name), 0, digest) for name, digest in self.fs.digests.items()]
        result: Future[list[WriteResult]] = Future()
        result.set_result([*written, *digests])
        return result

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Write ``.metadata`` and commit, given what ``write_data`` returned on each process."""
        entries = [entry for written in results for entry in written]
        digests = {entry.index.fqn: entry.storage_data for entry in entries if isinstance(entry.storage_data, str)}
        parts = [entry for entry in entries if not isinstance(entry.storage_data, str)]
        with self._named():
            missing = next((name for name in digests if not (self.folder / name).exists()), "")
            if missing:
                raise OSError(
                    f"{self.folder / missing} is not visible on {socket.gethostname()}; out must be on a file system "
                    "that all machines share"
                )
            super().finish(metadata, [parts])
            sync_folder(self.folder)
            sync_folder(self.folder.parent)
            self._commit({"folder": self.folder.name, "sha256": {**digests, _METADATA: self.fs.digests[_METADATA]}})

    def storage_meta(self) -> StorageMeta | None:
        return None  # it would contain the path of the folder

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Add this process to an OSError."""
        try:
            yield
        except OSError as error:
            named = f"{error.strerror or error} (process {get_rank()} on {socket.gethostname()})"
            raise OSError(error.errno, named) from error


class _Reader(FileSystemReader):
    """Reads parts; ``.metadata`` may contain plain values only."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with (Path(self.path) / _METADATA).open("rb") as file:
            metadata = cast(Metadata, _PlainUnpickler(file).load())
        metadata.storage_meta = StorageMeta()
        return metadata


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name) if module in _PLAIN else None
        if name in _PLAIN.get(module, ()) or isinstance(found, torch.dtype):
            return found
        raise pickle.UnpicklingError(f"{_METADATA} contains {module}.{name}, which is not a plain value")
