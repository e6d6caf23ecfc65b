"""Folders of classes: ``ROOT/<class>/**/<video>``; the class is the name of the first folder.

Images count where there is no video in the whole tree; beside videos they are taken for previews.
"""

from __future__ import annotations

import os
from pathlib import Path

from videopool.data.lists.formats.entries import SUFFIXES, VIDEO_SUFFIXES, Entry, Listing
from videopool.errors import InputError

_PARTS = {"train", "training", "val", "valid", "validation", "test", "testing", "eval", "dev", "trainval"}


def read(root: Path) -> Listing:
    """The videos, or else the images, in the folders of ``root``, sorted.

    Raises:
        InputError: for a folder that cannot be read, and for folders of the parts of a data set, each with its classes.
    """
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    files = [(folder.name, path) for folder in folders for path in _files_below(folder)]
    videos = [(name, path) for name, path in files if path.name.lower().endswith(VIDEO_SUFFIXES)]
    _refuse_parts(root, folders, videos or files)
    entries = [Entry(str(path), 0, path.relative_to(root).as_posix(), name) for name, path in videos or files]
    return Listing("directories", entries, root)


def _files_below(folder: Path) -> list[Path]:
    """Videos and images, sorted. Hidden folders are passed over, and so are those that a link leads to again."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: the folder cannot be read ({error.strerror}); allow it, or take it out")

    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        about = Path(parent).stat()
        if (about.st_dev, about.st_ino) in seen:
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent) / name for name in names if name.lower().endswith(SUFFIXES) and name[0] != "."]
    return sorted(found)


def _refuse_parts(root: Path, folders: list[Path], files: list[tuple[str, Path]]) -> None:
    """``train/`` and ``test/`` are no classes where they hold folders with all of the videos."""
    names = {name for name, _ in files}
    deep = all(len(path.relative_to(root).parts) > 2 for _, path in files)
    if len(names) > 1 and deep and all(name.lower() in _PARTS for name in names):
        first = next(folder for folder in folders if folder.name in names)
        raise InputError(f"{root}: {', '.join(sorted(names))} are parts of a data set, no classes; name one: {first}")
