"""The options of commands that take weights of other packages."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from videopool.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from videopool.config import Config


def add_published(parser: argparse.ArgumentParser) -> None:
    """Add ``--config`` and ``--classes``."""
    group = parser.add_argument_group("weights of other packages (docs/pretrained.md)")
    group.add_argument(
        "--config",
        metavar="NAME",
        help="configuration of their network: a YAML file, or a name that videopool train --list-configs shows",
    )
    group.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="names of their classes in the order of the weights, one on each line (default: numbers)",
    )


def published_config(arguments: argparse.Namespace, overrides: Sequence[str]) -> Config:
    """Return the configuration of ``--config``, changed by ``overrides``."""
    from videopool.config import load

    return load(arguments.config, overrides)


def results_folder(arguments: argparse.Namespace, config: Config) -> Path:
    """Return the folder for results of a checkpoint: that of its run, or one beside weights of other packages."""
    from videopool.engine.builders.published import published_folder
    from videopool.engine.scoring.results import run_folder

    path = arguments.checkpoint
    return run_folder(path, config.out) if arguments.config is None else published_folder(path)


def published_classes(arguments: argparse.Namespace) -> tuple[str, ...] | None:
    """Return the class names of ``--classes``; None without the option.

    Raises:
        InputError: for a file that cannot be read, or ``--classes`` without ``--config``.
    """
    if arguments.classes is None:
        return None
    if arguments.config is None:
        raise InputError("--classes is for weights of other packages; a checkpoint has its classes. Remove it.")
    from videopool.data.lists.formats.classes import read_classes

    return read_classes(arguments.classes)
