"""Checkpoints: written atomically, read with ``weights_only=True``.

A checkpoint is a dictionary of tensors and plain values: ``format`` (1), ``model`` (state dict), ``optimizer``,
``step``, ``steps_per_epoch``, ``processes``, ``best`` (metric of the best validation so far or None), ``validated``
(step of the last validation), ``config`` (nested plain values), ``classes`` (names in label order) and
``several_labels`` (whether a video may have several classes; missing in older checkpoints, which means False).
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch

from videopool.engine.unreadable import diagnose, find_writer, is_safetensors
from videopool.errors import InputError
from videopool.files import atomic_write, remove_unfinished

FORMAT = 1
_KEYS = {"model", "step", "config", "classes"}
_STEP_FILE = re.compile(r"step-(\d+)\.pt")


class CheckpointFolder:
    """A folder of ``step-0000123.pt`` (the newest ``keep`` of them), ``last.pt`` and ``best.pt``."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.folder / "last.pt"

    @property
    def best(self) -> Path:
        """The checkpoint with the highest validation score (``engine.scores``)."""
        return self.folder / "best.pt"

    def save(self, state: dict[str, Any], *, is_best: bool = False) -> Path:
        """Write ``state`` to the file of its step, link ``last`` (and ``best``) to it, and remove the oldest files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self.folder)
        path = self.folder / f"step-{state['step']:07d}.pt"
        with atomic_write(path) as temporary:
            _write(state, temporary)
        if is_best:
            _link(self.best, path)
        _link(self.last, path)
        for old in self.step_files()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def step_files(self) -> list[Path]:
        """Return the ``step-*.pt`` files by time: after a restart from an earlier step, a lower step may be newer."""
        files = [path for path in self.folder.glob("step-*.pt") if _STEP_FILE.fullmatch(path.name)]
        return sorted(files, key=lambda path: path.stat().st_mtime_ns)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the checkpoint at ``path``, on the CPU.

    Raises:
        InputError: if the file cannot be read or is not a checkpoint of videopool.
    """
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


def read_weights(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint of any program or of a safetensors file, on the CPU."""
    state = _read(path, "weights")
    if not isinstance(state, dict):
        raise InputError(f"weights {path} contain a {type(state).__name__}; expected a dictionary of tensors")
    return state


def _read(path: Path, kind: str) -> Any:
    """Return the content of a file, on the CPU. ``kind`` is what errors call the file."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{kind} {path}: {error.strerror or error}; give an existing file") from error
    try:
        return _load(path)
    except Exception as error:  # files of other formats fail in many ways
        raise InputError(f"{kind} {path} cannot be read: {diagnose(path, error)}") from error


def _load(path: Path) -> Any:
    if is_safetensors(path):
        from safetensors.torch import load

        return load(path.read_bytes())
    with path.open("rb") as file, warnings.catch_warnings():  # a path would let torch decide by suffix
        warnings.simplefilter("ignore")  # about what then raises
        return torch.load(file, map_location="cpu", weights_only=True)


def check_position(state: dict[str, Any], steps_per_epoch: int, processes: int) -> None:
    """Raise ``InputError`` if the run has another number of steps per epoch than the checkpoint.

    The step of a checkpoint would then be another position in the data.
    """
    if state["steps_per_epoch"] != steps_per_epoch:
        raise InputError(
            f"The checkpoint has {state['steps_per_epoch']} steps per epoch ({state['processes']} processes), "
            f"this run {steps_per_epoch} ({processes} processes). Use the same number of processes and videos, or "
            "start a new run with out=."
        )


def _write(state: dict[str, Any], path: Path) -> None:
    """Write ``state`` with torch.save; a full disk raises OSError instead of torch's RuntimeError."""
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        raise OSError(f"{path} could not be written ({str(error).partition(chr(10))[0]})") from error


def _link(name: Path, target: Path) -> None:
    """Make ``name`` a hard link to ``target``, or a copy if the file system has no links."""
    with atomic_write(name) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(target, temporary)
        except OSError:
            shutil.copyfile(target, temporary)
