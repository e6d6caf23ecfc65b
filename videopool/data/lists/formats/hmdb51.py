"""HMDB51: a folder of split files ``<class>_test_split<n>.txt`` with lines ``<video> <part>``.

Part 1 is the training set, 2 the test set, 0 neither. A source names the folder, the split and the part:
``FOLDER#split1/train``. The path of a video is ``<class>/<video>``.
"""

from __future__ import annotations

import re
from pathlib import Path

from videopool.data.lists.formats import directories
from videopool.data.lists.formats.entries import ListEntry, Listing
from videopool.data.lists.formats.list_source import ListSource
from videopool.data.lists.formats.text import read_text
from videopool.errors import InputError

_FILE = re.compile(r"^.+_test_split[1-9]\.txt$")
_PART = re.compile(r"^split(?P<split>[1-9])/(?P<part>train|test)$")
_LINE = re.compile(r"^(?P<video>.*\S)\s+(?P<part>[012])$")
_VIDEO = re.compile(r"_np\d+_(?:fr|ba|le|ri)_(?:bad|med|goo)_\d+\.\w+ [012]\s*\n")  # how HMDB51 names its videos
_CODES = {"train": "1", "test": "2"}


def claims(source: ListSource) -> bool:
    """Return whether the source is a folder of split files, or one split file, which ``read`` refuses."""
    if not source.is_folder:
        return _FILE.match(source.place.name) is not None and _VIDEO.search(source.text) is not None
    if not any(_FILE.match(inside.name) for inside in source.place.iterdir()):
        return False
    return bool(source.part) or not directories.read_folder(source.place).entries


def read(source: ListSource) -> Listing:
    """Return the videos of one part, such as ``split1/train``."""
    folder = source.place if source.is_folder else source.place.parent
    part = _PART.match(source.part)
    if part is None or not source.is_folder:
        given = f"#{source.part}" if source.part else source.place.name if source.place != folder else "no part"
        raise InputError(
            f"{folder} contains split files of HMDB51. Give the folder with a split and a part, such as "
            f"{folder}#split1/train or {folder}#split1/test, not {given}."
        )
    suffix = f"_test_split{part['split']}.txt"
    files = sorted(folder.glob(f"*{suffix}"), key=lambda file: file.name.removesuffix(suffix))
    if not files:
        raise InputError(f"{folder} has no file that ends in {suffix}. Choose another split.")
    entries = [entry for file in files for entry in _entries(file, file.name.removesuffix(suffix), part["part"])]
    return Listing(entries, source.base)


def _entries(file: Path, label: str, part: str) -> list[ListEntry]:
    entries = []
    for number, line in enumerate(read_text(file).split("\n"), start=1):  # names may start with #
        match = _LINE.match(line.strip())
        if match is None and line.strip():
            raise InputError(f"{file}:{number}: {line.strip()!r} is not '<video> <part>' with a part of 0, 1 or 2")
        if match is not None and match["part"] == _CODES[part]:
            entries.append(ListEntry(f"{label}/{match['video']}", label, file=str(file), line=number))
    return entries
