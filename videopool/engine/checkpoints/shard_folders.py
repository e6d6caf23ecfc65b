"""The folders of the shards of checkpoints, such as ``step-0000123.shards``.

``last.pt``, ``best.pt`` and ``hours-*.pt`` refer to the folder of the step file to which they are links.
"""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path

import torch

_SUFFIX = ".shards"
_OWN = re.compile(rf"(failed-)?step-\d+(-\d+)?{re.escape(_SUFFIX)}")


def free_shards(path: Path) -> str:
    """Return a name for the folder of the shards of ``path`` that no file or folder beside it has."""
    names = (f"{path.stem}{f'-{number}' if number else ''}{_SUFFIX}" for number in itertools.count())
    return next(name for name in names if not (path.parent / name).exists())


def remove_unused_shards(folder: Path) -> None:
    """Remove the folders of shards in ``folder`` to which no checkpoint refers, as after a killed save.

    Only names that ``free_shards`` gives to step files and failed steps count. While a checkpoint cannot be opened, as
    when a file server does not respond, all folders stay.
    """
    found = [path for path in folder.glob(f"*{_SUFFIX}") if _OWN.fullmatch(path.name)]
    try:
        used: set[str] = set().union(*map(_shards_of, folder.glob("*.pt"))) if found else set()
    except OSError:
        return
    for entry in found:
        if entry.name not in used:
            shutil.rmtree(entry, ignore_errors=True)


def _shards_of(path: Path) -> set[str]:
    """Return the names of the folders to which a checkpoint refers: none, or one.

    Raises:
        OSError: if the file exists and cannot be opened.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:  # removed meanwhile
        return set()
    except OSError:
        raise
    except Exception:  # files of other formats fail in many ways
        return {f"{path.stem}{_SUFFIX}"}
    return {content["shards"]["folder"]} if isinstance(content, dict) and "shards" in content else set()
