"""Folders of classes: ``ROOT/<class>/**/<video>``; the class is the name of the first folder.

Images count where there is no video in the whole tree; beside videos they are taken for previews.
"""

from __future__ import annotations

import os
from pathlib import Path

from videopool.data.lists.formats.entries import SUFFIXES, VIDEO_SUFFIXES, Entry, Listing


def read(root: Path) -> Listing:
    """The videos, or else the images, in the folders of ``root``, sorted."""
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    files = [(folder.name, path) for folder in folders for path in _files_below(folder)]
    videos = [(name, path) for name, path in files if path.name.lower().endswith(VIDEO_SUFFIXES)]
    entries = [Entry(str(path), 0, path.relative_to(root).as_posix(), name) for name, path in videos or files]
    return Listing("directories", entries, root)


def _files_below(folder: Path) -> list[Path]:
    """Videos and images, sorted."""
    found = [
        Path(parent) / name
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    ]
    return sorted(found)
