"""Folders of classes: ``ROOT/<class>/**/<video>``; the class is the name of the first folder.

Images count where there is no video in the whole tree; beside videos they are taken for previews.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from videopool.data.decoding.image_reader import IMAGE_SUFFIXES
from videopool.data.lists.formats.entries import VIDEO_SUFFIXES, Entry, Listing, counted_suffixes, joined
from videopool.data.lists.formats.passed_over import kinds_of_files, passed_over_note
from videopool.errors import InputError

_PARTS = {"train", "training", "val", "valid", "validation", "test", "testing", "eval", "dev", "trainval"}
_OF_SYSTEMS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"}


def read(root: Path) -> Listing:
    """Return the videos, or else the images, in the folders of ``root``, sorted; ``note`` counts the other files.

    A folder ``root`` with nothing but a folder of its own name, as archives leave it, stands for that one.

    Raises:
        InputError: for a folder that cannot be read, for folders of the parts of a data set, each with its classes, and
            for a class without videos beside others that have some.
    """
    above = {_identity(folder) for folder in (root, *root.resolve().parents)}
    folders = sorted(
        folder
        for folder in root.iterdir()
        if folder.is_dir() and not _is_hidden(folder.name) and _identity(folder) not in above
    )
    if len(folders) == 1 and _is_doubled(root, folders[0]):
        inner = read(folders[0])
        return dataclasses.replace(inner, note=joined(f"the classes are the folders of {folders[0]}", inner.note))
    files = {folder: _files_below(folder, above) for folder in folders}
    suffixes = counted_suffixes(path.name for found in files.values() for path in found)
    wanted = {folder: _named(found, suffixes) for folder, found in files.items()}
    if any(wanted.values()):
        _refuse_parts(root, wanted)
        _refuse_empty(root, files, wanted)
    entries = [
        Entry(str(path), 0, path.relative_to(root).as_posix(), folder.name)
        for folder, found in wanted.items()
        for path in found
    ]
    return Listing("directories", entries, root, note=_note(root, files, suffixes))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in _OF_SYSTEMS


def _is_doubled(root: Path, folder: Path) -> bool:
    """Whether ``folder``, the only one in ``root``, has its name, and holds folders but no videos, as ``root`` does."""
    if folder.name.casefold() not in (root.name.casefold(), root.resolve().name.casefold()):
        return False
    inside = [entry for entry in folder.iterdir() if not _is_hidden(entry.name)]
    videos = _named([*inside, *root.iterdir()], VIDEO_SUFFIXES)
    return any(entry.is_dir() for entry in inside) and not videos


def _named(paths: Sequence[Path], suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in paths if path.name.lower().endswith(suffixes)]


def _identity(folder: Path) -> tuple[int, int]:
    """What is the same for a folder and for every link to it."""
    found = folder.stat()
    return found.st_dev, found.st_ino


def _files_below(folder: Path, above: Collection[tuple[int, int]]) -> list[Path]:
    """Return the files, sorted, without those of hidden folders, and of links to ``above`` or to a folder again."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: the folder cannot be read ({error.strerror}); allow it, or take it out")

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


def _refuse_parts(root: Path, wanted: dict[Path, list[Path]]) -> None:
    """``train/`` and ``test/`` are no classes where they hold folders with all of the videos."""
    full = [folder for folder, found in wanted.items() if found]
    deep = all(len(path.relative_to(root).parts) > 2 for found in wanted.values() for path in found)
    if len(full) > 1 and deep and all(folder.name.lower() in _PARTS for folder in full):
        names = ", ".join(folder.name for folder in full)
        raise InputError(f"{root}: {names} are parts of a data set, no classes; name one: {full[0]}")


def _refuse_empty(root: Path, files: dict[Path, list[Path]], wanted: dict[Path, list[Path]]) -> None:
    """A class whose videos cannot be read would vanish from the data set."""
    empty = next((folder for folder, found in wanted.items() if not found), None)
    if empty is None:
        return
    kinds = Counter(path.suffix.lower() or "without suffix" for path in files[empty])
    held = f"it holds {kinds_of_files(kinds)}" if kinds else "it is empty"
    raise InputError(
        f"{empty}: the class folder has no videos ({held}), but others in {root} have; put videos with a known suffix "
        "into it (docs/lists.md), or move it elsewhere"
    )


def _note(root: Path, files: dict[Path, list[Path]], suffixes: tuple[str, ...]) -> str:
    """A sentence on the files that are not read: other kinds, and videos outside of the folders of classes."""
    known = (*suffixes, *IMAGE_SUFFIXES)  # images beside videos are previews
    others = [path.name for found in files.values() for path in found if not path.name.lower().endswith(known)]
    stray = _named(sorted(path for path in root.iterdir() if path.is_file()), suffixes)
    outside = f"{stray[0].name} and {len(stray) - 1} more" if len(stray) > 1 else "".join(path.name for path in stray)
    return joined(passed_over_note(others), f"passed over {outside}, in no class folder" if outside else "")
