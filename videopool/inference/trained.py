"""Read trained networks: checkpoints, folders of runs, and the files that ``videopool export`` writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

from videopool.config import load as load_config
from videopool.engine.builders.published import load_published
from videopool.engine.builders.stored_config import stored_config
from videopool.engine.builders.testing import Trained, load_trained, with_weights
from videopool.engine.checkpoints.files import read_weights
from videopool.engine.cluster.distributed import World, alone
from videopool.errors import InputError
from videopool.export import read_description
from videopool.export.description import is_compiled
from videopool.inference.backends import (
    Backend,
    BackendModule,
    ModuleBackend,
    PackageBackend,
    ProgramBackend,
    SessionBackend,
)

_EXPORTED = ("program.pt2", "model.safetensors", "portable.pt2", "model.onnx", "aoti.pt2", "int8.onnx")
_CHECKPOINTS = (".pt", ".pth", ".ckpt", "")
_IN_RUN = ("checkpoints/last.pt", "checkpoints/best.pt")
_FORMS = "a checkpoint (.pt), the folder of a run, or an exported file (.pt2, .safetensors, .onnx) or its folder"


@dataclasses.dataclass(frozen=True)
class Network:
    """A trained network that is ready to run.

    Attributes:
        path: the file it was read from.
        trained: its configuration, classes and preprocessing. ``trained.model`` has the layers of the network if it
            comes from a checkpoint or weights; otherwise it is a ``BackendModule``.
        backend: runs it on the device of ``world``.
        world: this process.
    """

    path: Path
    trained: Trained
    backend: Backend
    world: World


def read_network(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    trust: bool = False,
    config: str | Path | None = None,
    classes: Sequence[str] | None = None,
) -> Network:
    """Return the network of a checkpoint, of the folder of a run, of an exported file, or of the folder of an export.

    A run is read from ``checkpoints/last.pt``, whose results are reported, or else from ``best.pt``. With ``config``, a
    file or the name of a shipped configuration, the network is the one that it describes, with the weights of another
    package in the file ``path``; ``classes`` are their names.

    Raises:
        InputError: for another file, for one that cannot be read, and without ``trust`` for one that names functions to
            call.
    """
    file = _file_in(path) if path.is_dir() and config is None else path
    if classes is not None and config is None:
        raise InputError("classes are for weights of other packages, with config; a checkpoint has its own")
    if config is None and file.suffix in (".pt2", ".onnx"):
        return _read_program(file, overrides, trust=trust)
    if config is not None:
        trained = load_published(file, load_config(config, overrides), classes)
    elif file.suffix == ".safetensors":
        trained = _read_weights(file, overrides, trust=trust)
    elif file.suffix in _CHECKPOINTS or not file.is_file():
        trained = load_trained(file, overrides, trust=trust)
    else:
        raise InputError(f"{file} is not a network that can be read. Give {_FORMS}.")
    world = alone(trained.config.train.device)
    backend = ModuleBackend(trained.model, trained.preprocess, world.device, trained.config.train.precision)
    return Network(file, trained, backend, world)


def _file_in(folder: Path) -> Path:
    names = (*_EXPORTED, *_IN_RUN)
    found = [folder / name for name in names if (folder / name).exists()]
    if not found:
        raise InputError(f"{folder} has none of {', '.join(names)}. Give {_FORMS}.")
    return found[0]


def _read_weights(file: Path, overrides: Sequence[str], *, trust: bool) -> Trained:
    described = read_description(file)
    config = stored_config(yaml.safe_load(described.config), file, overrides, trust=trust)
    return with_weights(config, described.classes, described.several_labels, read_weights(file), file)


def _read_program(file: Path, overrides: Sequence[str], *, trust: bool) -> Network:
    if not file.is_file():
        raise InputError(f"{file} does not exist. Give {_FORMS}.")
    described = read_description(file)
    config = stored_config(yaml.safe_load(described.config), file, overrides, trust=trust)
    compiled = file.suffix == ".pt2" and is_compiled(file)
    world = alone("cpu" if compiled or file.suffix == ".onnx" else config.train.device)
    backend: Backend
    if file.suffix == ".onnx":
        backend = SessionBackend(file)
    elif compiled:
        backend = PackageBackend(file)
    else:
        backend = ProgramBackend(file, world.device)
    trained = Trained(BackendModule(backend), _unchanged, config, described.classes, described.several_labels)
    return Network(file, trained, backend, world)


def _unchanged(clips: torch.Tensor) -> torch.Tensor:
    return clips
