"""Class folders: ``ROOT/<class>/**/<video>``; the class is the name of the first folder.

Images count if there is no video in the whole tree; next to videos they are previews.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePath

from videopool.data.decoding.image_reader import IMAGE_SUFFIXES
from videopool.data.lists.formats.entries import VIDEO_SUFFIXES, ListEntry, Listing, counted, data_suffixes, joined
from videopool.errors import InputError

_PARTS = {"train", "training", "val", "valid", "validation", "test", "testing", "eval", "dev", "trainval"}
_MOST_KINDS = 6  # in a sentence about files
_OF_SYSTEMS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}


def read_folder(root: Path) -> Listing:
    """Return the videos, or else the images, in class folders, sorted by path; ``note`` counts the other files.

    If the only thing in a folder is a folder of the same name, as some archives unpack, the inner one is read.
    Folders such as ``train/`` and ``test/`` with class folders in them are an error, and so is a class without videos
    if others have some.
    """
    above = {_identity(folder) for folder in (root, *root.resolve().parents)}
    folders = sorted(
        folder
        for folder in root.iterdir()
        if folder.is_dir() and not _is_hidden(folder.name) and _identity(folder) not in above
    )
    if len(folders) == 1 and _is_doubled(root, folders[0]):
        inner = read_folder(folders[0])
        return dataclasses.replace(inner, note=joined(f"the class folders are in {folders[0]}", inner.note))
    files = {folder: _files_below(folder, above) for folder in folders}
    suffixes = data_suffixes(path.name for found in files.values() for path in found)
    videos = {folder: _with_suffix(found, suffixes) for folder, found in files.items()}
    if any(videos.values()):
        _refuse_parts(root, videos)
        _refuse_empty(root, files, videos)
    entries = [
        ListEntry(path.relative_to(root).as_posix(), folder.name, file=str(path))
        for folder, found in videos.items()
        for path in found
    ]
    return Listing(entries, root, note=_note(root, files, suffixes), numbers_are_names=True)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _OF_SYSTEMS


def _is_doubled(root: Path, folder: Path) -> bool:
    """Return whether ``folder``, the only one in ``root``, has its name and neither has videos at its top level."""
    if folder.name.casefold() not in (root.name.casefold(), root.resolve().name.casefold()):
        return False
    inside = [entry for entry in folder.iterdir() if not _is_hidden(entry.name)]
    videos = _with_suffix([*inside, *root.iterdir()], VIDEO_SUFFIXES)
    return any(entry.is_dir() for entry in inside) and not videos


def _with_suffix(paths: Sequence[Path], suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in paths if path.name.lower().endswith(suffixes)]


def _identity(folder: Path) -> tuple[int, int]:
    """Return what a folder and all links to it have in common."""
    found = folder.stat()
    return found.st_dev, found.st_ino


def _files_below(folder: Path, above: Collection[tuple[int, int]]) -> list[Path]:
    """Return the files, sorted, without hidden folders, links to folders in ``above``, and second links to a folder."""

    def refuse(error: OSError) -> None:
        raise InputError(
            f"{error.filename}: the folder cannot be read ({error.strerror}). Change its permissions, or "
            "move it elsewhere."
        )

    found: list[Path] = []
    seen = set(above)
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        identity = _identity(Path(parent))
        if identity in seen:
            folders.clear()
            continue
        seen.add(identity)
        folders[:] = [name for name in folders if not _is_hidden(name)]
        found += [Path(parent) / name for name in names if name[0] != "."]
    return sorted(found)


def _refuse_parts(root: Path, videos: dict[Path, list[Path]]) -> None:
    """Raise InputError if the only folders with videos are named ``train``, ``test`` ... and contain class folders."""
    full = [folder for folder, found in videos.items() if found]
    deep = all(len(path.relative_to(root).parts) > 2 for found in videos.values() for path in found)
    if len(full) > 1 and deep and all(folder.name.lower() in _PARTS for folder in full):
        names = ", ".join(folder.name for folder in full)
        example = next((folder for folder in full if folder.name.lower().startswith("train")), full[0])
        raise InputError(f"{root}: {names} are parts of a data set, not classes. Give one of them, such as {example}.")


def _refuse_empty(root: Path, files: dict[Path, list[Path]], videos: dict[Path, list[Path]]) -> None:
    """Raise InputError for a class folder without videos, whose class would be missing from the data set."""
    empty = next((folder for folder, found in videos.items() if not found), None)
    if empty is None:
        return
    content = f"it contains {_kinds_of_files(files[empty])}" if files[empty] else "it is empty"
    raise InputError(
        f"{empty}: the class folder has no videos ({content}), but others in {root} have. Add videos with a suffix of "
        "docs/lists.md, or move the folder elsewhere."
    )


def _note(root: Path, files: dict[Path, list[Path]], suffixes: tuple[str, ...]) -> str:
    """Return a sentence about the files that are not read: other kinds, and videos outside of class folders."""
    known = (*suffixes, *IMAGE_SUFFIXES)  # images next to videos are previews
    others = [path.name for found in files.values() for path in found if not path.name.lower().endswith(known)]
    stray = _with_suffix(sorted(path for path in root.iterdir() if path.is_file()), suffixes)
    outside = f"{stray[0].name} and {len(stray) - 1} more" if len(stray) > 1 else "".join(path.name for path in stray)
    return joined(skipped_note(others), f"skipped {outside}, outside of class folders" if outside else "")


def skipped_note(names: Sequence[str]) -> str:
    """Return "skipped 12 files: 10 .txt, 2 .nfo" for the names of files that are not read, "" for none."""
    return f"skipped {counted(len(names), 'file')}: {_kinds_of_files(names)}" if names else ""


def _kinds_of_files(names: Iterable[str | Path]) -> str:
    """Return the counts of files by suffix, the most frequent first: "10 .txt, 2 .nfo"."""
    kinds = Counter(PurePath(name).suffix.lower() or "without suffix" for name in names)
    first = [f"{count} {kind}" for kind, count in kinds.most_common(_MOST_KINDS)]
    return ", ".join(first + ["..."] * (len(kinds) > _MOST_KINDS))
