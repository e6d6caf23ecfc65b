"""Checkpoints: written atomically, read with ``weights_only=True``.

A checkpoint is a dictionary of tensors and plain values: ``format`` (1), ``model``, ``optimizer`` and ``scaler`` (state
dicts), ``step``, ``steps_per_epoch``, ``processes``, ``best`` (score of the best validation so far or None),
``validated`` (step of the last validation), ``waited`` (validations since the best one), ``trained_hours`` (of the run
so far, including earlier starts), ``config`` (nested plain values), ``classes`` (names in label order) and
``several_labels`` (whether a video may have several classes). Older checkpoints lack ``scaler``, ``waited``,
``trained_hours`` and ``several_labels`` (False). A training that averages weights adds ``averaged`` (state dict) and
``averages`` (number of updates of the average). ``failed-step-0000123.pt`` adds ``failed``, see ``failure.replayable``.

The checkpoint of a sharded training has ``format`` 2 and ``shards``: the folder that holds the tensors which its
processes shared, and the SHA-256 of each file in it (``engine.checkpoints.shards``). In the checkpoint itself, these
tensors are on the meta device. ``read_checkpoint`` returns whole tensors and ``format`` 1.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import torch

from videopool.engine.checkpoints.digests import (
    digest_file,
    hashing_file,
    is_intact,
    remove_digests_without_file,
    remove_with_digest,
    write_digests,
)
from videopool.engine.checkpoints.shard_folders import free_shards, remove_unused_shards
from videopool.engine.checkpoints.unreadable import diagnose, find_writer, is_safetensors
from videopool.errors import InputError
from videopool.files import atomic_write, remove_unfinished, sync_folder

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

# torch.distributed.checkpoint, which engine.checkpoints.shards needs, takes more than a second to import.

FORMAT, SHARDED_FORMAT = 1, 2
_KEYS = {"model", "step", "config", "classes"}
_STEP_FILE = re.compile(r"step-\d+\.pt")
_HOURS_FILE = re.compile(r"hours-(\d+\.\d+)-step-\d+\.pt")


class CheckpointFolder:
    """A folder of checkpoints, each with its digest (``engine.checkpoints.digests``).

    ``step-0000123.pt`` are the newest ``keep`` checkpoints. The other files are links to them, which remain when a step
    file is removed: ``last.pt``, ``best.pt``, and ``hours-024.50-step-0000123.pt`` for one checkpoint of every
    ``keep_every_hours`` hours of training (0: none), here after 24.5 hours.
    """

    def __init__(self, folder: Path, *, keep: int, keep_every_hours: float = 0.0) -> None:
        self.folder = folder
        self.keep = keep
        self.keep_every_hours = keep_every_hours

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.folder / "last.pt"

    @property
    def best(self) -> Path:
        """The checkpoint with the highest validation score (``engine.scoring.scores``)."""
        return self.folder / "best.pt"

    def save(self, state: dict[str, Any], *, is_best: bool = False) -> Path:
        """Write ``state`` to the file of its step, link ``last`` (and ``best``) to it, and remove old step files.

        If the process is killed at any moment, ``last`` is a complete checkpoint: this one or the one before.
        """
        self._prepare()
        return self._commit(state, is_best=is_best)

    def save_shards(
        self, state: dict[str, Any], name: str, group: ProcessGroup | None, *, is_best: bool = False
    ) -> None:
        """Do what ``save`` does with a state whose tensors are divided. All processes of ``group`` must call this.

        Args:
            state: with tensors in host memory.
            name: of a new folder in ``folder``, where each process writes its parts (``free_shards``).
            group: a gloo group that nothing else uses meanwhile; None: the default group.
            is_best: whether this is the best checkpoint so far.
        """
        from videopool.engine.checkpoints.shards import write_shards

        commit = functools.partial(self._commit, is_best=is_best)
        write_shards(state, self.folder / name, group, prepare=self._prepare, commit=commit)

    def free_shards(self, step: int) -> str:
        """Return a new name for the folder of the shards of ``step``."""
        return free_shards(self.folder / _step_name(step))

    def _prepare(self) -> None:
        """Make the folder, and remove what an interrupted save has left in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self.folder)
        remove_unused_shards(self.folder)

    def _commit(self, state: dict[str, Any], *, is_best: bool) -> Path:
        """Write the file of ``state`` and its links, and remove the files that the policy does not keep."""
        path = self.folder / _step_name(state["step"])
        digests = write_checkpoint(path, state)
        for name in (*self._due(state), *((self.best,) if is_best else ()), self.last):
            _link(name, path, digests)
        sync_folder(self.folder)
        for old in self.step_files()[: -self.keep]:
            remove_with_digest(old)
        remove_digests_without_file(self.folder)
        remove_unused_shards(self.folder)
        return path

    def step_files(self) -> list[Path]:
        """Return the ``step-*.pt`` files by time: after a restart from an earlier step, a lower step may be newer."""
        return _step_files(self.folder)

    def find_newest(self) -> Newest | None:
        """Return the newest checkpoint that can be read, or None if there is none at all.

        Raises:
            InputError: if none of them can be read.
        """
        return _find_newest(self.folder, (self.last, *_newest_first(self.folder)))

    def _due(self, state: dict[str, Any]) -> list[Path]:
        """Return the link that keeps ``state`` forever, if ``keep_every_hours`` have passed since the one before."""
        hours = float(state.get("trained_hours", 0.0))
        kept = [float(found[1]) for path in self.folder.iterdir() if (found := _HOURS_FILE.fullmatch(path.name))]
        if not self.keep_every_hours or hours - max(kept, default=0.0) < self.keep_every_hours:
            return []
        return [self.folder / f"hours-{math.floor(hours * 100) / 100:06.2f}-{_step_name(state['step'])}"]


class Newest(NamedTuple):
    """The newest checkpoint that can be read.

    Attributes:
        path: the file.
        note: a sentence that names the newer files that cannot be read, or "".
    """

    path: Path
    note: str


class _UnreadableError(InputError):
    """The file is damaged, or not a checkpoint."""


def write_checkpoint(path: Path, state: dict[str, Any]) -> dict[str, str]:
    """Write ``state`` to ``path`` atomically, and its digest. A full disk raises OSError.

    Returns:
        The digests of the file and its shards, by their paths in its folder.
    """
    with atomic_write(path) as temporary:
        digest = _write(state, temporary)
        digest_file(path).unlink(missing_ok=True)  # of an earlier file with this name
    shards = state.get("shards", {"folder": "", "sha256": {}})
    digests = {path.name: digest, **{f"{shards['folder']}/{name}": own for name, own in shards["sha256"].items()}}
    write_digests(path, digests)
    return digests


def write_sharded(path: Path, state: dict[str, Any], name: str, group: ProcessGroup | None) -> None:
    """Write a state whose tensors are divided to ``path`` and the folder ``name`` beside it, as ``save_shards`` does.

    All processes of ``group`` must call this.
    """
    from videopool.engine.checkpoints.shards import write_shards

    def commit(state: dict[str, Any]) -> None:
        write_checkpoint(path, state)
        remove_unused_shards(path.parent)  # of an earlier file with this name

    write_shards(state, path.parent / name, group, prepare=lambda: None, commit=commit)


def read_checkpoint(path: Path, *, whole: bool = True) -> dict[str, Any]:
    """Return the checkpoint at ``path``, on the CPU, checked against its digests.

    Args:
        path: the file.
        whole: whether to read the tensors in its shards, if it has any. Otherwise they are on the meta device, and
            ``read_parts`` reads them.

    Raises:
        InputError: if the file or one of its shards cannot be read or is damaged, or if it is not a checkpoint of
            videopool. The message names the newest other checkpoint in the folder that can be read.
    """
    try:
        return _read_checkpoint(path, whole=whole)
    except _UnreadableError as error:
        other = _newest_readable(path.parent)
        if not other:
            raise
        raise InputError(f"{error}. The newest checkpoint that can be read there is {other}") from error


def read_parts(into: Mapping[str, Any], state: dict[str, Any]) -> None:
    """Read the tensors of a sharded checkpoint into those of ``into``, each process its parts of a divided one.

    Args:
        into: nested like ``state``; other tensors than those in shards do not change.
        state: of ``read_checkpoint`` with ``whole=False``. If it has no shards, nothing happens.
    """
    if "shards" in state:
        from videopool.engine.checkpoints.shards import read_shards

        read_shards(into, Path(state["shards"]["folder"]))


def _newest_readable(folder: Path) -> str:
    """Return the newest checkpoint in ``folder`` that can be read, or ""."""
    try:
        newest = _find_newest(folder, _newest_first(folder))
    except InputError:
        return ""
    return str(newest.path) if newest else ""


def _read_checkpoint(path: Path, *, whole: bool) -> dict[str, Any]:
    state = _read(path, "checkpoint", whole=whole)
    if not isinstance(state, dict):
        raise InputError(f"checkpoint {path} contains a {type(state).__name__}; give a checkpoint of videopool train")
    if not is_checkpoint(state):
        writer = find_writer(state)
        raise InputError(
            f"checkpoint {path} was written by {writer.name if writer else 'another program'}, not by videopool train; "
            f"to use its weights, set model.pretrained={path} to train, or add --config NAME (docs/pretrained.md)"
        )
    return {"several_labels": False, **state}


def is_checkpoint(state: Mapping[str, Any]) -> bool:
    """Return whether the content of a file is a checkpoint of videopool."""
    known = state.get("format") in (FORMAT, SHARDED_FORMAT) and state.keys() >= _KEYS
    return known and isinstance(state["classes"], list)


def _find_newest(folder: Path, paths: Iterable[Path]) -> Newest | None:
    """Return the first of ``paths`` that can be read, and None if there is none.

    Raises:
        InputError: if some exist and none can be read.
    """
    unreadable: list[str] = []
    seen: set[tuple[int, int]] = set()
    for path in paths:
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if (status.st_dev, status.st_ino) in seen:  # a link to a file that cannot be read
            continue
        seen.add((status.st_dev, status.st_ino))
        try:
            _read_checkpoint(path, whole=False)
        except InputError as error:
            unreadable.append(str(error))
        else:
            return Newest(path, f"{'; '.join(unreadable)}. Using {path} instead." if unreadable else "")
    if unreadable:
        raise InputError(
            f"no checkpoint in {folder} can be read: {'; '.join(unreadable)}. Restore one of them, or use another "
            "folder for a new run."
        )
    return None


def _step_name(step: int) -> str:
    return f"step-{step:07d}.pt"


def _step_files(folder: Path) -> list[Path]:
    """Return the step files in ``folder``, the oldest first."""
    return _by_time(path for path in folder.glob("step-*.pt") if _STEP_FILE.fullmatch(path.name))


def _newest_first(folder: Path) -> list[Path]:
    """Return the step files, ``hours-*.pt`` and ``best.pt`` in ``folder``, the newest first."""
    hours = sorted(path for path in folder.glob("hours-*.pt") if _HOURS_FILE.fullmatch(path.name))
    return _by_time((folder / "best.pt", *hours, *_step_files(folder)))[::-1]


def _by_time(paths: Iterable[Path]) -> list[Path]:
    """Return those of ``paths`` that exist, the oldest first. Another process may remove some meanwhile."""
    times = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            times[path] = path.stat().st_mtime_ns
    return sorted(times, key=lambda path: times[path])


def read_weights(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint of any program or of a safetensors file, on the CPU."""
    state = _read(path, "weights", whole=True)
    if not isinstance(state, dict):
        raise InputError(f"weights {path} contain a {type(state).__name__}; expected a dictionary of tensors")
    return state


def _read(path: Path, kind: str, *, whole: bool) -> Any:
    """Return the content of a file, on the CPU. ``kind`` is what errors call the file; see ``read_checkpoint``."""
    while True:
        try:
            file = path.open("rb")
        except OSError as error:
            last = path / "checkpoints/last.pt"
            instead = last if last.is_file() else "an existing file"
            raise _UnreadableError(f"{kind} {path}: {error.strerror or error}; give {instead}") from error
        with file:
            try:
                intact = is_intact(path, file)
                content = _load(path, file)
            except Exception as error:  # files of other formats fail in many ways
                raise _UnreadableError(f"{kind} {path} cannot be read: {diagnose(path, error)}") from error
            fault = "" if intact else f"its SHA-256 is not the one in {digest_file(path).name}"
            if not fault and _has_shards(content):
                from videopool.engine.checkpoints.shards import with_shards

                content, fault = with_shards(content, path.resolve().parent, whole=whole)
            if not fault:
                return content
            if _is_current(file, path):  # else a run has replaced the file meanwhile
                raise _UnreadableError(f"{kind} {path} is damaged: {fault}; copy or download it again")


def _has_shards(content: Any) -> bool:
    return isinstance(content, dict) and content.get("format") == SHARDED_FORMAT and "shards" in content


def _is_current(file: BufferedReader, path: Path) -> bool:
    """Return whether the open ``file`` is the one at ``path``, or none is there."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return True


def _load(path: Path, file: BufferedReader) -> Any:
    if is_safetensors(path):
        from safetensors.torch import load

        return load(file.read())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what then raises
        return torch.load(file, map_location="cpu", weights_only=True)  # a path would let torch decide by suffix


def check_position(state: dict[str, Any], steps_per_epoch: int) -> None:
    """Raise ``InputError`` if the run has another number of steps per epoch than the checkpoint.

    The step of a checkpoint would then be another position in the data.
    """
    if state["steps_per_epoch"] != steps_per_epoch:
        raise InputError(
            f"The checkpoint has {state['steps_per_epoch']} steps per epoch, this run {steps_per_epoch}. Use a list "
            "with the same number of videos, or start a new run with out=."
        )


def _write(state: dict[str, Any], path: Path) -> str:
    """Write ``state`` with torch.save and return its digest; a full disk raises OSError."""
    with hashing_file(path) as file:
        torch.save(state, cast(IO[bytes], file))  # calls write and flush only
    return file.digest


def _link(name: Path, target: Path, digests: Mapping[str, str]) -> None:
    """Make ``name`` a hard link to ``target``, or a copy if the file system has no links.

    ``digests`` are those of ``target`` and its shards.
    """
    with atomic_write(name) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(target, temporary)
        except OSError:
            shutil.copyfile(target, temporary)
        digest_file(name).unlink(missing_ok=True)  # of the file before; a file without a digest counts as intact
    write_digests(name, {name.name if path == target.name else path: digest for path, digest in digests.items()})
