"""Reading trained networks: checkpoints, and the files that ``videopool export`` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videopool.config import Config
from videopool.config import load as load_config
from videopool.engine.builders.testing import Trained, load_trained, with_weights
from videopool.engine.checkpoints.files import read_weights
from videopool.errors import InputError
from videopool.export import portable, program, weights


class _Program(nn.Module):
    """A loaded torch.export program, which has no training mode to switch."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.program(clips)

    def train(self, mode: bool = True) -> _Program:
        return self


def read_trained(path: Path, overrides: Sequence[str] = ()) -> Trained:
    """Return the network of a checkpoint, a program, exported weights, or the folder of an export.

    Raises:
        InputError: for another file, or an export without its description.
    """
    if path.is_dir():
        names = (program.FILE, weights.FILE, portable.FILE)
        found = [path / name for name in names if (path / name).exists()]
        if not found:
            raise InputError(f"{path} has none of {', '.join(names)}; give a checkpoint or the folder of an export")
        path = found[0]
    if path.suffix == ".pt2":
        return _read_program(path, overrides)
    if path.suffix == ".safetensors":
        return with_weights(*_read_description(path, overrides), read_weights(path), path)
    return load_trained(path, overrides)


def _read_program(path: Path, overrides: Sequence[str]) -> Trained:
    import videopool.ops  # noqa: F401  # its pooling kernels

    config, classes, several = _read_description(path, overrides)
    try:
        with path.open("rb") as file:
            loaded = torch.export.load(file).module()
    except Exception as error:  # a damaged archive fails in many ways
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as a program ({reason}); export it again") from error
    return Trained(_Program(loaded), lambda clips: clips, config, classes, several)


def _read_description(path: Path, overrides: Sequence[str]) -> tuple[Config, tuple[str, ...], bool]:
    """Return configuration, classes and whether a video may have several, from the files beside an exported one."""
    config, classes, described = (path.parent / name for name in ("config.yaml", "classes.json", "preprocessing.json"))
    for file in (path, config, classes, described):
        if not file.exists():
            raise InputError(f"{file} is missing, and {path.name} needs it; keep the files of an export together")
    values: dict[str, Any] = json.loads(described.read_text(encoding="utf-8"))
    several = values.get("several_labels", values["probabilities"].startswith("sigmoid"))
    return load_config(config, overrides), tuple(json.loads(classes.read_text(encoding="utf-8"))), several
