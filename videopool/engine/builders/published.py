"""Networks with weights of other packages. Their files have no configuration, so the user gives one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videopool.config import Config
from videopool.data.lists.formats.entries import is_number
from videopool.data.lists.records import VideoList
from videopool.engine.builders.parts import build_model, load_weights, preprocessing
from videopool.engine.builders.testing import Trained
from videopool.engine.checkpoints.files import is_checkpoint, read_weights
from videopool.engine.step.memory_order import channels_last
from videopool.errors import InputError
from videopool.models.weights import count_classes

_ANY = ("", "")  # classes of the network that is built to find the names of its classifier


def load_published(
    path: Path, config: Config, classes: Sequence[str] | None = None, tests: VideoList | None = None
) -> Trained:
    """Return the network of ``config`` with the weights in ``path``, all of which must fit.

    Args:
        path: a file of weights that ``videopool.models.load_weights`` can load.
        config: describes the network and how its clips are made.
        classes: the names of the classes in the order of the file; None: those of ``tests``, or numbers if ``tests``
            has none.
        tests: the list to evaluate; it tells whether a video may have several classes. Without it, ``optim.loss`` does.

    Raises:
        InputError: if the file cannot be read or is a checkpoint of videopool, if a weight does not fit or is missing,
            or for another number of classes.
    """
    weights = read_weights(path)
    if is_checkpoint(weights):
        raise InputError(f"{path} is a checkpoint of videopool, which has its own configuration. Remove --config.")
    names = _class_names(_count(path, config, weights), path, classes, tests)
    several = config.optim.loss == "bce" if tests is None or tests.unlabeled else tests.several_labels
    model, _ = build_model(config, names)
    note = f"{path}: {load_weights(model, weights, path, strict=True)}"
    return Trained(channels_last(model).eval(), preprocessing(config), config, names, several, note=note)


def published_folder(path: Path) -> Path:
    """Return the folder for results of weights that are not in a run: beside the file, with its name."""
    return path.with_suffix("") if path.suffix else path.with_name(f"{path.name}-results")


def _count(path: Path, config: Config, weights: dict[str, Any]) -> int:
    model, _ = build_model(config, _ANY)
    try:
        count = count_classes(model, weights)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not count:
        load_weights(model, weights, path, strict=True)  # raises the error that names what does not fit
    return count


def _class_names(count: int, path: Path, classes: Sequence[str] | None, tests: VideoList | None) -> tuple[str, ...]:
    listed = () if tests is None or tests.unlabeled or all(map(is_number, tests.classes)) else tests.classes
    names = tuple(listed or map(str, range(count))) if classes is None else tuple(classes)
    if len(names) != count:
        whose = f"{tests.source} has {len(names)} classes" if tests and listed else f"there are {len(names)} names"
        raise InputError(
            f"{whose}, but {path} has {count}. Give the names of all classes, in the order of the file.",
            setting="classes",
        )
    return names
