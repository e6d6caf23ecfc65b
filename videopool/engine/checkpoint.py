"""Checkpoints: written whole or not at all, read with ``weights_only=True``.

A checkpoint is a dictionary of tensors and plain values: ``format`` (1), ``model`` (state dict), ``optimizer``,
``step``, ``steps_per_epoch``, ``processes``, ``best`` (metric of the best validation so far or None), ``validated``
(step of the last validation), ``config`` (nested plain values), ``classes`` (list of names, in label order) and
``several_labels`` (whether a video may have several of them; older checkpoints lack it: False).
"""

from __future__ import annotations

import os
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch

from videopool.engine.unreadable import is_safetensors, reason, writer_of
from videopool.errors import InputError
from videopool.files import atomic_write

FORMAT = 1
_KEYS = {"model", "step", "config", "classes"}
_STEP_FILE = re.compile(r"step-(\d+)\.pt")


class CheckpointFolder:
    """``step-0000123.pt`` (the newest ``keep`` of them), ``last.pt`` and ``best.pt`` in one folder."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self.folder / "last.pt"

    @property
    def best(self) -> Path:
        """The checkpoint with the highest score of the evaluations during training (``engine.scores``)."""
        return self.folder / "best.pt"

    def save(self, state: dict[str, Any], *, is_best: bool = False) -> Path:
        """Writes ``state`` as the file of its step, points ``last`` (and ``best``) at it, removes the oldest files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        path = self.folder / f"step-{state['step']:07d}.pt"
        with atomic_write(path) as temporary:
            _write(state, temporary)
        if is_best:
            _point(self.best, path)
        _point(self.last, path)
        for old in self.step_files()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def step_files(self) -> list[Path]:
        """The ``step-*.pt`` files, first written first: what follows an earlier step that was gone back to is newer."""
        files = [path for path in self.folder.glob("step-*.pt") if _STEP_FILE.fullmatch(path.name)]
        return sorted(files, key=lambda path: path.stat().st_mtime_ns)

    def _sweep(self) -> None:
        """Removes what a killed process left half-written."""
        for leftover in self.folder.glob("*.tmp-*"):
            leftover.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint at ``path``, on the CPU. Raises ``InputError`` for anything that is not one of ours."""
    state = _content(path, "checkpoint")
    if not isinstance(state, dict):
        raise InputError(f"checkpoint {path} holds a {type(state).__name__}; give a checkpoint of tools/train.py")
    if state.get("format") != FORMAT or not state.keys() >= _KEYS or not isinstance(state["classes"], list):
        writer = writer_of(state)
        raise InputError(
            f"checkpoint {path} was written by {writer.name if writer else 'another program'} and not by "
            f"tools/train.py; for its weights use model.pretrained={path}"
        )
    return {"several_labels": False, **state}


def read_weights(path: Path) -> dict[str, Any]:
    """The content of a checkpoint (ours or another's) or of a safetensors file."""
    state = _content(path, "weights")
    if not isinstance(state, dict):
        raise InputError(f"weights {path} hold a {type(state).__name__}; expected tensors by name")
    return state


def _content(path: Path, what: str) -> Any:
    """What the file holds, on the CPU; ``InputError`` names ``what`` was expected and what the file is."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"{what} {path}: {error.strerror or error}; give an existing file") from error
    try:
        return _loaded(path)
    except Exception as error:  # a file of other content fails in many ways
        raise InputError(f"{what} {path} cannot be read: {reason(path, error)}") from error


def _loaded(path: Path) -> Any:
    if is_safetensors(path):
        from safetensors.torch import load

        return load(path.read_bytes())
    with path.open("rb") as file, warnings.catch_warnings():  # not the path, whose suffix torch would go by
        warnings.simplefilter("ignore")  # torch warns of what fails a moment later
        return torch.load(file, map_location="cpu", weights_only=True)


def check_position(state: dict[str, Any], steps_per_epoch: int, processes: int) -> None:
    """A step means a position in the data only while an epoch has as many steps; ``InputError`` where it has not."""
    if state["steps_per_epoch"] != steps_per_epoch:
        raise InputError(
            f"the checkpoint counts {state['steps_per_epoch']} steps an epoch ({state['processes']} processes), "
            f"this run {steps_per_epoch} ({processes} processes): go on with as many processes and videos, or begin "
            "anew with out="
        )


def _write(state: dict[str, Any], path: Path) -> None:
    """``torch.save``, whose own errors about a full disk are not OSErrors."""
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        raise OSError(f"{path} could not be written ({str(error).partition(chr(10))[0]})") from error


def _point(name: Path, target: Path) -> None:
    """Makes ``name`` the same file as ``target``: a hard link, or a copy where the file system has no links."""
    with atomic_write(name) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(target, temporary)
        except OSError:
            shutil.copyfile(target, temporary)
