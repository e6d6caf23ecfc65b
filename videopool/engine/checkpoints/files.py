"""Checkpoints: written atomically, read with ``weights_only=True``.

A checkpoint is a dictionary of tensors and plain values: ``format`` (1), ``model``, ``optimizer`` and ``scaler`` (state
dicts), ``step``, ``steps_per_epoch``, ``processes``, ``best`` (score of the best validation so far or None),
``validated`` (step of the last validation), ``waited`` (validations since the best one), ``trained_hours`` (of the run
so far, including earlier starts), ``config`` (nested plain values), ``classes`` (names in label order) and
``several_labels`` (whether a video may have several classes). Older checkpoints lack ``scaler``, ``waited``,
``trained_hours`` and ``several_labels`` (False). A training that averages weights adds ``averaged`` (state dict) and
``averages`` (number of updates of the average). ``failed-step-0000123.pt`` adds ``failed``, see ``failure.replayable``.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import warnings
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import torch

from videopool.engine.checkpoints.digests import (
    HashingFile,
    digest_file,
    is_intact,
    remove_digests_without_file,
    remove_with_digest,
    write_digest,
)
from videopool.engine.checkpoints.unreadable import diagnose, find_writer, is_safetensors
from videopool.errors import InputError
from videopool.files import atomic_write, remove_unfinished, sync_folder

FORMAT = 1
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
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self.folder)
        path = self.folder / f"step-{state['step']:07d}.pt"
        digest = write_checkpoint(path, state)
        for name in (*self._due(state), *((self.best,) if is_best else ()), self.last):
            _link(name, path, digest)
        sync_folder(self.folder)
        for old in self.step_files()[: -self.keep]:
            remove_with_digest(old)
        remove_digests_without_file(self.folder)
        return path

    def step_files(self) -> list[Path]:
        """Return the ``step-*.pt`` files by time: after a restart from an earlier step, a lower step may be newer."""
        return _step_files(self.folder)

    def find_newest(self) -> Newest | None:
        """Return the newest checkpoint that can be read, or None if there is none at all.

        Raises:
            InputError: if none of them can be read.
        """
        return _find_newest(self.folder, (self.last, *reversed(self.step_files()), self.best))

    def _due(self, state: dict[str, Any]) -> list[Path]:
        """Return the link that keeps ``state`` forever, if ``keep_every_hours`` have passed since the one before."""
        hours = float(state.get("trained_hours", 0.0))
        kept = [float(found[1]) for path in self.folder.iterdir() if (found := _HOURS_FILE.fullmatch(path.name))]
        if not self.keep_every_hours or hours - max(kept, default=0.0) < self.keep_every_hours:
            return []
        return [self.folder / f"hours-{math.floor(hours * 100) / 100:06.2f}-step-{state['step']:07d}.pt"]


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


def write_checkpoint(path: Path, state: dict[str, Any]) -> str:
    """Write ``state`` to ``path`` atomically, write its digest, and return the digest. A full disk raises OSError."""
    with atomic_write(path) as temporary:
        digest = _write(state, temporary)
        digest_file(path).unlink(missing_ok=True)  # of an earlier file with this name
    write_digest(path, digest)
    return digest


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the checkpoint at ``path``, on the CPU, checked against its digest.

    Raises:
        InputError: if the file cannot be read, is damaged or is not a checkpoint of videopool. The message names the
            newest other checkpoint in the folder that can be read.
    """
    try:
        return _read_checkpoint(path)
    except _UnreadableError as error:
        other = _newest_readable(path.parent)
        if not other:
            raise
        raise InputError(f"{error}. The newest checkpoint that can be read there is {other}") from error


def _newest_readable(folder: Path) -> str:
    """Return the newest step file in ``folder`` that can be read, or ""."""
    try:
        newest = _find_newest(folder, reversed(_step_files(folder)))
    except InputError:
        return ""
    return str(newest.path) if newest else ""


def _read_checkpoint(path: Path) -> dict[str, Any]:
    state = _read(path, "checkpoint")
    if not isinstance(state, dict):
        raise InputError(f"checkpoint {path} contains a {type(state).__name__}; give a checkpoint of videopool train")
    if state.get("format") != FORMAT or not state.keys() >= _KEYS or not isinstance(state["classes"], list):
        writer = find_writer(state)
        raise InputError(
            f"checkpoint {path} was written by {writer.name if writer else 'another program'}, not by videopool train; "
            f"to use its weights, set model.pretrained={path}"
        )
    return {"several_labels": False, **state}


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
            _read_checkpoint(path)
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


def _step_files(folder: Path) -> list[Path]:
    """Return the step files in ``folder``, the oldest first. Another process may remove some meanwhile."""
    times = {}
    for path in folder.glob("step-*.pt"):
        if _STEP_FILE.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):
                times[path] = path.stat().st_mtime_ns
    return sorted(times, key=lambda path: times[path])


def read_weights(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint of any program or of a safetensors file, on the CPU."""
    state = _read(path, "weights")
    if not isinstance(state, dict):
        raise InputError(f"weights {path} contain a {type(state).__name__}; expected a dictionary of tensors")
    return state


def _read(path: Path, kind: str) -> Any:
    """Return the content of a file, on the CPU. ``kind`` is what errors call the file."""
    while True:
        try:
            file = path.open("rb")
        except OSError as error:
            raise _UnreadableError(f"{kind} {path}: {error.strerror or error}; give an existing file") from error
        with file:
            try:
                intact = is_intact(path, file)
                content = _load(path, file)
            except Exception as error:  # files of other formats fail in many ways
                raise _UnreadableError(f"{kind} {path} cannot be read: {diagnose(path, error)}") from error
            if intact:
                return content
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):  # else a run has replaced the file meanwhile
                raise _UnreadableError(
                    f"{kind} {path} is damaged: its SHA-256 is not the one in {digest_file(path).name}; "
                    "copy or download it again"
                )


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
    """Write ``state`` with torch.save and return its digest; a full disk raises OSError, not torch's RuntimeError."""
    with path.open("wb") as file:
        hashing = HashingFile(file)
        try:
            torch.save(state, cast(IO[bytes], hashing))  # calls write and flush only
        except RuntimeError as error:
            raise hashing.error or OSError(
                f"{path} could not be written ({str(error).partition(chr(10))[0]})"
            ) from error
    return hashing.digest


def _link(name: Path, target: Path, digest: str) -> None:
    """Make ``name`` a hard link to ``target``, or a copy if the file system has no links."""
    with atomic_write(name) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(target, temporary)
        except OSError:
            shutil.copyfile(target, temporary)
        digest_file(name).unlink(missing_ok=True)  # of the file before; a file without a digest counts as intact
    write_digest(name, digest)
