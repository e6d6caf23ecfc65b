"""Finding files: those next to a list, and the videos below a folder by name."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from videopool.data.lists.formats.entries import VIDEO_SUFFIXES, ListEntry
from videopool.errors import InputError

_DEPTH = 2  # ROOT/train/class/video: two folders below the root


def find_next_to(place: Path, *names: str) -> Path | None:
    """Return the first file with one of ``names`` in the folder of the list ``place``, or its parent; None without."""
    folders = (place.parent, place.parent / "..")  # parent.parent would be wrong for ../list.txt
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)


def require_next_to(place: Path, what: str, *names: str) -> Path:
    """Return the file of ``find_next_to``; raise InputError if a list of ``what`` lacks it."""
    found = find_next_to(place, *names)
    if found is None:
        raise InputError(
            f"{place} looks like a list of {what}, which needs the file {' or '.join(names)}. Put it into "
            f"{place.parent} or its parent."
        )
    return found


def videos_by_name(folder: Path, depth: int = _DEPTH, frames: Collection[str] = ()) -> dict[str, list[str]]:
    """Return the paths, from ``folder``, of videos in it and up to ``depth`` folders below, by name without suffix.

    A folder named in ``frames`` is a video whose frames are images, and is not entered. Each folder is listed once and
    no file is opened, so that hundreds of thousands of names can be looked up in memory. Folders without read
    permission are skipped.
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
    """Return ``abc`` for ``abc.mp4`` and for ``abc.mp4.mkv``, which downloaders write."""
    while name.lower().endswith(VIDEO_SUFFIXES):
        name = name.rpartition(".")[0]
    return name


def find_file(found: Mapping[str, list[str]], names: Sequence[str], label: str, missing: str) -> str:
    """Return the path of a video that has one of ``names``, the earlier first; ``missing`` if none is in ``found``."""
    name = next((name for name in names if name in found), None)
    return missing if name is None else _best_match(found[name], label)


def _best_match(paths: Sequence[str], label: str) -> str:
    """Return, of several files with one name, the one in a folder named like the class, else the first."""
    if len(paths) == 1:
        return paths[0]
    wanted = _folded(label)
    return min(paths, key=lambda path: (wanted not in map(_folded, path.split("/")[:-1]), path))


def find_video(found: Mapping[str, list[str]], name: str, label: str, missing: str) -> tuple[str, int | None]:
    """Return the path of video ``name`` and its ``frames``: 0 (all images) for a folder, None for a file.

    A file goes before a folder; a video that is not in ``found`` gets the path ``missing``.
    """
    paths = found.get(name, [missing])
    files = [path for path in paths if path.lower().endswith(VIDEO_SUFFIXES)]
    return _best_match(files or paths, label), None if files else 0


def count_missing(entries: Sequence[ListEntry], found: Mapping[str, list[str]]) -> int:
    """Return how many of ``entries`` have no file in ``found``."""
    files = {path for paths in found.values() for path in paths}
    return sum(entry.path not in files for entry in entries)


def missing_note(entries: Sequence[ListEntry], found: Mapping[str, list[str]]) -> str:
    """Return a sentence about the ``entries`` without a file, "" if all have one."""
    missing = count_missing(entries, found)
    return f"{missing} of {len(entries)} videos have no file" if missing else ""


def _folded(name: str) -> str:
    """Return the letters and digits of a name: class folders have spaces, underscores or dashes between words."""
    return "".join(character for character in name.casefold() if character.isalnum())
