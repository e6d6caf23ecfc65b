"""Whether the videos of a list are there: paths that lack their suffix, and the folder that paths really start from."""

from __future__ import annotations

import dataclasses
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from videopool.data.decoding.image_reader import IMAGE_SUFFIXES
from videopool.data.lists.formats.entries import SUFFIXES, Entry, Listing, counted, joined
from videopool.errors import InputError

_PATHS_TRIED = 10  # in other folders, where none is in its own
_FOLDERS_TRIED = 200  # below a folder in which no video is


def with_suffixes(listing: Listing) -> Listing:
    """Return the listing with the paths completed that lack the suffix of their file; ``note`` counts them.

    A folder that a list names as a video, without a number of frames, is one of all its images.

    Raises:
        InputError: where files with several suffixes fit.
    """
    finder = _Finder(listing.base)
    entries = [finder.completed(entry) if _lacks_suffix(entry) else entry for entry in listing.entries]
    note = ""
    if finder.completions:
        written, found = finder.completions[0]
        note = f"completed {counted(len(finder.completions), 'path')} without suffix, such as {written} to {found}"
    return dataclasses.replace(listing, entries=entries, note=joined(listing.note, note))


def _lacks_suffix(entry: Entry) -> bool:
    return entry.frames is None and entry.part is None and not entry.path.lower().endswith(SUFFIXES)


class _Finder:
    """Completes paths and lists every folder once; ``completions`` holds (as written, completed)."""

    def __init__(self, base: Path) -> None:
        self.completions: list[tuple[str, str]] = []
        self._base = base
        self._folders: dict[str, dict[str, list[str]]] = {}

    def completed(self, entry: Entry) -> Entry:
        folder, _, name = entry.path.rstrip("/").rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = _names_without_suffix(self._base / folder)
        names = self._folders[folder].get(name, [])
        if name in names:
            is_folder = (self._base / entry.path).is_dir()
            return dataclasses.replace(entry, frames=0) if is_folder else entry
        if len(names) > 1:
            raise InputError(
                f"{entry.where}: {entry.path} has no suffix, but {' and '.join(sorted(names))} are there; write it"
            )
        if not names:
            return entry
        path = str(PurePosixPath(entry.path).with_name(names[0]))
        self.completions.append((entry.path, path))
        return dataclasses.replace(entry, path=path)


def _names_without_suffix(folder: Path) -> dict[str, list[str]]:
    """Return the names in ``folder`` by their stems: without the suffix of a video or image, if they have one."""
    found: dict[str, list[str]] = {}
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return found
    for name in names:
        stem = name.rpartition(".")[0] if name.lower().endswith(SUFFIXES) else name
        found.setdefault(stem, []).append(name)
    return found


def check_some_exist(listing: Listing, place: Path) -> None:
    """Raise InputError if no video of ``listing``, which was read from ``place``, exists; it names the likely cause."""
    entries, base = listing.entries, listing.base
    if any(_is_there(base, entry) for entry in entries):
        return
    first = entries[0]
    tried = [entry.path for entry in entries[:_PATHS_TRIED]]
    others = (folder for folder in _other_bases(base) if any(exists(folder / path) for path in tried))
    elsewhere = next(others, None)
    renamed = "" if elsewhere or first.frames is not None else _with_other_suffix(base / first.path)
    fix = "set data.root to the folder that its paths start from"
    if elsewhere:
        fix = f"they are below {elsewhere}: set data.root={elsewhere}"
    elif renamed:
        fix = f"{renamed} is there: correct the suffixes in the list"
    else:
        fix = _fix_of_path(base, first.path) or fix
    shown = first.path if first.path.isprintable() else repr(first.path)
    raise InputError(f"{place}: none of the {len(entries)} videos exists, the first being {shown} below {base}; {fix}")


def _is_there(base: Path, entry: Entry) -> bool:
    """Whether the video of ``entry`` exists; a folder of all its images does if it has some."""
    if entry.frames != 0:
        return exists(base / entry.path)
    try:
        return any(path.name.lower().endswith(IMAGE_SUFFIXES) for path in (base / entry.path).iterdir())
    except OSError:
        return False


def _fix_of_path(base: Path, path: str) -> str:
    """What is to change in ``path``, if it shows; else ""."""
    last = re.split(r"[\s,;]+", path)[-1]
    if last != path and exists(base / last):
        return f"{last} is there: give the path first, then the label"
    if exists(base / path):
        return f"{path} is a folder without images: name the videos in it"
    form = next((form for form in ("NFC", "NFD") if exists(base / unicodedata.normalize(form, path))), "")
    if form:
        return (
            f"it is there under the same name with accents written in another way: convert the list to Unicode {form}"
        )
    fixes = {
        "\\" in path: "write / instead of \\ in paths",
        path[0] == path[-1] == "'": "write double quotes instead of single ones, or none",
        path.startswith("~"): "write the folder that ~ stands for",
        "，" in path: "write a comma or a tab instead of ，",
        "://" in path: "download the videos, and give the paths of the files",
    }
    return fixes.get(True, "")


def _other_bases(base: Path) -> Iterator[Path]:
    """Folders that paths may start from instead: those in ``base``, as archives with a folder leave them, or above."""
    try:
        inside = sorted(entry.path for entry in os.scandir(base) if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        inside = []
    yield from map(Path, inside[:_FOLDERS_TRIED])
    yield from list(base.absolute().parents)[:2]


def _with_other_suffix(path: Path) -> str:
    """The name of a file that differs from ``path`` in its suffix alone, "" for none."""
    stem = path.name.rpartition(".")[0] if path.name.lower().endswith(SUFFIXES) else path.name
    names = _names_without_suffix(path.parent).get(stem, []) if stem else []
    return min(names, default="")


def exists(path: Path) -> bool:
    """Return whether ``path`` exists: False too where the system refuses it, being too long or in a closed folder."""
    try:
        return path.exists()
    except OSError:
        return False
