"""Finding files: what stands beside a list, and the videos below a folder by their names."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from videopool.data.lists.formats.entries import VIDEO_SUFFIXES, Entry

_DEPTH = 2  # ROOT/train/class/video: two folders below the root


def beside(place: Path, *names: str) -> Path | None:
    """The first file with one of ``names`` in the folder of the list ``place``, or in the folder above it."""
    folders = (place.parent, place.parent / "..")  # parent.parent would be wrong for ../list.txt
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)


def videos_by_name(folder: Path, depth: int = _DEPTH, frames: Collection[str] = ()) -> dict[str, list[str]]:
    """Paths, from ``folder`` on, of the videos in it and up to ``depth`` folders below it, by name without suffix.

    A folder with one of the names ``frames`` is a video too, taken apart into its frames, and is not entered. Every
    folder is listed once and no file is looked at, so hundreds of thousands of names are then found in memory. Folders
    that may not be read are passed over.
    """
    found: dict[str, list[str]] = {}
    _collect(str(folder), "", depth, found, frozenset(frames))
    return found


def _collect(folder: str, below: str, depth: int, found: dict[str, list[str]], frames: frozenset[str]) -> None:
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except PermissionError:  # such as lost+found at the root of a disk
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.name.lower().endswith(VIDEO_SUFFIXES):
            found.setdefault(_without_suffixes(entry.name), []).append(below + entry.name)
        elif entry.name in frames and entry.is_dir():
            found.setdefault(entry.name, []).append(below + entry.name)
        elif depth and entry.is_dir():
            _collect(entry.path, f"{below}{entry.name}/", depth - 1, found, frames)


def _without_suffixes(name: str) -> str:
    """``abc.mp4`` and ``abc.mp4.mkv``, as downloaders leave it, are both ``abc``."""
    while name.lower().endswith(VIDEO_SUFFIXES):
        name = name.rpartition(".")[0]
    return name


def chosen(paths: Sequence[str], label: str) -> str:
    """Of several files of one name the one in a folder named like the class, else the first."""
    if len(paths) == 1:
        return paths[0]
    wanted = _folded(label)
    return min(paths, key=lambda path: (wanted not in map(_folded, path.split("/")[:-1]), path))


def place_of(found: Mapping[str, list[str]], name: str, label: str, missing: str) -> tuple[str, int | None]:
    """Return the path of video ``name`` and its number of frames: 0 (all of them) for a folder, None for a file.

    A file goes before a folder; a video that was not found is at ``missing``.
    """
    paths = found.get(name, [missing])
    files = [path for path in paths if path.lower().endswith(VIDEO_SUFFIXES)]
    return chosen(files or paths, label), None if files else 0


def count_missing(entries: Sequence[Entry], found: Mapping[str, list[str]]) -> int:
    """How many of ``entries`` are not among the files that were found."""
    files = {path for paths in found.values() for path in paths}
    return sum(entry.path not in files for entry in entries)


def missing_note(entries: Sequence[Entry], found: Mapping[str, list[str]]) -> str:
    """A sentence on how many of ``entries`` have no file, "" where all have."""
    missing = count_missing(entries, found)
    return f"{missing} of {len(entries)} videos have no file" if missing else ""


def _folded(name: str) -> str:
    """Letters and digits alone: folders of classes are spelled with blanks, underscores or dashes."""
    return "".join(character for character in name.casefold() if character.isalnum())
