"""The configuration in a file of a network. It may name functions of other packages, which are code of its author."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from videopool.config import Config, from_plain
from videopool.data.lists.records import reader_of
from videopool.errors import InputError

# What shipped configurations name. Other functions of videopool could write files, for example.
_OWN = ("videopool.models.vgg.vgg",)


def stored_config(values: dict[str, Any], path: Path, overrides: Sequence[str] = (), *, trust: bool = False) -> Config:
    """Return the configuration that a file has, changed by ``overrides``.

    Args:
        values: what was read from the file.
        path: the file, for errors.
        overrides: ``key=value`` texts.
        trust: whether the file may name functions that testing calls.

    Raises:
        InputError: if it names one without ``trust``, unless an override or a shipped configuration names it too.
    """
    config = from_plain(values, f"the config in {path}", overrides)
    if not trust:
        refuse_code({**network_functions(config), **list_readers(config), **_metrics(config)}, path, overrides)
    return config


def refuse_code(functions: Mapping[str, str], path: Path, given: Iterable[str]) -> None:
    """Raise ``InputError`` for functions that the file ``path`` names, except those that are in a text of ``given``.

    ``functions`` are ``package.module.function``, by the keys that name them.
    """
    for key, function in functions.items():
        if function not in _OWN and not any(function in text for text in given):
            raise InputError(
                f"{path} names a function that would be called: {key}={function}. Add --trust (in Python: trust=True) "
                "if you trust the author of the file and this package."
            )


def network_functions(config: Config) -> dict[str, str]:
    """Return the functions that build the network of ``config``, by their keys."""
    pooling = config.model.pooling
    named = {"model.target": config.model.target, "model.pooling": pooling if "." in pooling else ""}
    return {key: function for key, function in named.items() if function}


def list_readers(config: Config) -> dict[str, str]:
    """Return the functions that read the lists of videos of ``config``, by their keys."""
    readers = {f"data.{part}": reader_of(getattr(config.data, part)) for part in ("train", "test")}
    return {key: function for key, function in readers.items() if function}


def _metrics(config: Config) -> dict[str, str]:
    return {f"evaluate.metrics[{number}]": metric for number, metric in enumerate(config.evaluate.metrics)}
