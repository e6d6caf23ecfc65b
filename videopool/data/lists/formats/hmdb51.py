"""The split files of HMDB51: a folder of ``<class>_test_split<n>.txt``, lines ``<video> <part>``.

Part 1 is the training set, 2 the test set, 0 neither. A source names the folder, the split and the part:
``FOLDER#split1/train``. Videos lie in ``<class>/<video>``.
"""

from __future__ import annotations

import re
from pathlib import Path

from videopool.data.lists.formats.entries import Entry, Listing
from videopool.data.lists.formats.text import read_text
from videopool.errors import InputError

_FILE = re.compile(r"^.+_test_split[1-9]\.txt$")
_PART = re.compile(r"^split(?P<split>[1-9])/(?P<part>train|test)$")
_LINE = re.compile(r"^(?P<video>.*\S)\s+(?P<part>[012])$")
_VIDEO = re.compile(r"_np\d+_(?:fr|ba|le|ri)_(?:bad|med|goo)_\d+\.\w+ [012]\s*\n")  # as all of its files are named
_WANTED = {"train": "1", "test": "2"}


def is_split_folder(folder: Path) -> bool:
    """Whether ``folder`` holds a file that is named like a split file."""
    return any(_FILE.match(inside.name) for inside in folder.iterdir())


def is_split_file(path: Path, text: str) -> bool:
    """Whether a list is one of the split files: so named, and with the names of the videos of HMDB51."""
    return _FILE.match(path.name) is not None and _VIDEO.search(text) is not None


def refuse(path: Path, part: str) -> InputError:
    """What is said of split files that are named without the folder, the split or the part."""
    folder = path if path.is_dir() else path.parent
    given = f"#{part}" if part else path.name if path != folder else "no part"
    return InputError(
        f"{folder} holds split files of HMDB51; expected the folder with a split and a part of it, as in "
        f"{folder}#split1/train or {folder}#split1/test, got {given}"
    )


def read(folder: Path, part: str, base: Path) -> Listing:
    """The videos of one part, such as ``split1/train``.

    Raises:
        InputError: for another form of ``part``, a split without files, and, naming file and line, for a line of
            another form.
    """
    chosen = _PART.match(part)
    if chosen is None:
        raise refuse(folder, part)
    suffix = f"_test_split{chosen['split']}.txt"
    files = sorted(folder.glob(f"*{suffix}"), key=lambda file: file.name.removesuffix(suffix))
    if not files:
        raise InputError(f"{folder}: no file ends in {suffix}; choose a split that is there")
    wanted = _WANTED[chosen["part"]]
    entries = [entry for file in files for entry in _read_file(file, file.name.removesuffix(suffix), wanted)]
    return Listing("hmdb51", entries, base)


def _read_file(file: Path, label: str, wanted: str) -> list[Entry]:
    entries = []
    for number, line in enumerate(read_text(file).split("\n"), start=1):  # names may begin with #
        match = _LINE.match(line.strip())
        if match is None and line.strip():
            raise InputError(f"{file}:{number}: {line.strip()!r} is not '<video> <part>' with a part of 0, 1 or 2")
        if match is not None and match["part"] == wanted:
            entries.append(Entry(str(file), number, f"{label}/{match['video']}", label))
    return entries
