"""Whether the videos of a list exist: complete paths without suffix, and find the folder that paths start from."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from videopool.data.decoding.image_reader import IMAGE_SUFFIXES
from videopool.data.lists.formats.entries import SUFFIXES, ListEntry, Listing, counted, joined
from videopool.errors import InputError

_PATHS_TRIED = 10  # in other folders, if no video is in its own
_FOLDERS_TRIED = 200  # below a folder without any of the videos


def with_suffixes(listing: Listing) -> Listing:
    """Return the listing with suffixes added to paths that lack them; ``note`` counts these.

    A folder that a list names as a video, without a number of frames, is a video of all its images.

    Raises:
        InputError: if files with several suffixes match.
    """
    names_in = functools.cache(lambda folder: _names_without_suffix(listing.base / folder))
    entries = [_completed(entry, listing.base, names_in) for entry in listing.entries]
    changed = [(old.path, new.path) for old, new in zip(listing.entries, entries, strict=True) if old.path != new.path]
    note = ""
    if changed:
        written, found = changed[0]
        note = f"added the suffix to {counted(len(changed), 'path')}, such as {written} -> {found}"
    return dataclasses.replace(listing, entries=entries, note=joined(listing.note, note))


def _completed(entry: ListEntry, base: Path, names_in: Callable[[str], dict[str, list[str]]]) -> ListEntry:
    if entry.frames is not None or entry.part is not None or entry.path.lower().endswith(SUFFIXES):
        return entry
    folder, _, name = entry.path.rstrip("/").rpartition("/")
    names = names_in(folder).get(name, [])
    if name in names:
        return dataclasses.replace(entry, frames=0) if (base / entry.path).is_dir() else entry
    if len(names) > 1:
        raise InputError(
            f"{entry.where}: {entry.path} has no suffix and may be {' or '.join(sorted(names))}. Write the suffix."
        )
    return dataclasses.replace(entry, path=str(PurePosixPath(entry.path).with_name(names[0]))) if names else entry


def _names_without_suffix(folder: Path) -> dict[str, list[str]]:
    """Return the names in ``folder`` by their stems: without the suffix of a video or image."""
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
    """Raise InputError with the likely cause if no video of ``listing``, which was read from ``place``, exists."""
    entries, base = listing.entries, listing.base
    if any(_exists(base, entry) for entry in entries):
        return
    first = entries[0]
    shown = first.path if first.path.isprintable() else repr(first.path)
    fix, setting = _advice(base, first, [entry.path for entry in entries[:_PATHS_TRIED]])
    raise InputError(
        f"{place}: none of the {len(entries)} videos exists; the first is {shown} below {base}. {fix}", setting=setting
    )


def _advice(base: Path, first: ListEntry, paths: list[str]) -> tuple[str, str]:
    """Return what to do about ``paths`` that do not exist below ``base``, and the setting to change, "" for none."""
    others = (folder for folder in _other_bases(base) if any(path_exists(folder / path) for path in paths))
    elsewhere = next(others, None)
    if elsewhere:
        return f"They are below {elsewhere}: set root={elsewhere}", "root"
    renamed = "" if first.frames is not None else _with_other_suffix(base / first.path)
    if renamed:
        return f"{renamed} exists: correct the suffixes in the list.", ""
    fix = _fix_of_path(base, first.path)
    return (fix, "") if fix else ("Set root to the folder that its paths start from.", "root")


def _exists(base: Path, entry: ListEntry) -> bool:
    """Return whether the video of ``entry`` exists; a folder of all its images must have some."""
    if entry.frames != 0:
        return path_exists(base / entry.path)
    try:
        return any(path.name.lower().endswith(IMAGE_SUFFIXES) for path in (base / entry.path).iterdir())
    except OSError:
        return False


def _fix_of_path(base: Path, path: str) -> str:
    """Return what to change in ``path``, or ""."""
    last = re.split(r"[\s,;]+", path)[-1]
    if last != path and path_exists(base / last):
        return f"{last} exists: write the path first, then the label."
    if path_exists(base / path):
        return f"{path} is a folder without images: name the videos in it."
    form = next((form for form in ("NFC", "NFD") if path_exists(base / unicodedata.normalize(form, path))), "")
    if form:
        return f"It exists with accents in another Unicode form: convert the list to {form}."
    fixes = {
        "\\" in path: "Write / instead of \\ in paths.",
        path[0] == path[-1] == "'": "Write double quotes instead of single ones, or none.",
        path.startswith("~"): "Write the folder that ~ stands for.",
        "，" in path: "Write a comma or a tab instead of ，.",
        "://" in path: "Download the videos, and give the paths of the files.",
    }
    return fixes.get(True, "")


def _other_bases(base: Path) -> Iterator[Path]:
    """Yield folders that paths may start from: those in ``base``, where archives often add one, and above it."""
    try:
        inside = sorted(entry.path for entry in os.scandir(base) if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        inside = []
    yield from map(Path, inside[:_FOLDERS_TRIED])
    yield from list(base.absolute().parents)[:2]


def _with_other_suffix(path: Path) -> str:
    """Return the name of a file that differs from ``path`` only in its suffix, "" for none."""
    stem = path.name.rpartition(".")[0] if path.name.lower().endswith(SUFFIXES) else path.name
    names = _names_without_suffix(path.parent).get(stem, []) if stem else []
    return min(names, default="")


def path_exists(path: Path) -> bool:
    """Return whether ``path`` exists; False if the system refuses it (too long, or in a folder without permission)."""
    try:
        return path.exists()
    except OSError:
        return False
