"""Write a list that ``read_videos`` reads: a csv of paths and class names, and the order of the classes."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from videopool.data.lists.formats.classes import CLASSES_FILE, check_names, read_classes, write_classes
from videopool.data.lists.table import VideoTable
from videopool.errors import InputError
from videopool.files import atomic_write, write_text

_SPANS = {"start": "start_seconds", "end": "end_seconds", "start_frame": "start_frame", "end_frame": "end_frame"}
_UNWRITABLE = re.compile("[\ud800-\udfff\r\n]")  # surrogates are bytes that are not UTF-8
_SEPARATORS_OF_LABELS = re.compile(r"[;|]|^\d+[\s,]+\d")  # read as several labels


def check_csv(table: VideoTable, classes: Sequence[str], source: str, fix: str) -> None:
    """Raise InputError for videos or classes that a csv cannot hold; ``fix`` is a sentence on what to do."""
    kinds = {"part_size": "parts of tar files", "frames": "folders of frames"}
    found = next((words for column, words in kinds.items() if column in table.columns), None)
    if found is not None:
        raise InputError(f"{source} has {found}, for which a csv has no column. {fix}")
    names = (table.path_at(video) for video in range(len(table)))
    odd = next((name for name in names if _UNWRITABLE.search(name)), None)
    if odd is not None:
        raise InputError(f"{source}: a list cannot hold the name {odd!r}. Rename the file, in UTF-8 and one line.")
    check_names(CLASSES_FILE, classes)
    odd = next((name for name in classes if _SEPARATORS_OF_LABELS.search(name)), None)
    if table.several_labels and odd is not None:
        raise InputError(f"{source}: the class name {odd!r} would be read as several in the column labels. {fix}")


def write_list(path: Path, table: VideoTable, classes: Sequence[str]) -> None:
    """Write ``table`` (see ``check_csv``) to ``path``, and ``classes`` to classes.txt beside it.

    Raises:
        InputError: if a classes.txt with another order exists.
    """
    if not table.unlabeled:
        keep_order(path.parent, classes)
    spans = [name for name in _SPANS if name in table.columns]
    cut = table.columns.get("may_be_cut")
    labels = _label_columns(table, classes)
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", *labels, *(_SPANS[name] for name in spans), *["may_be_cut"][: cut is not None]])
        for video in range(len(table)):
            written = [cells[video] for cells in labels.values()]
            times = [_cell(table.columns[name][video]) for name in spans]
            writer.writerow([table.path_at(video), *written, *times, *([] if cut is None else [int(cut[video])])])


def _label_columns(table: VideoTable, classes: Sequence[str]) -> dict[str, list[str]]:
    """Return the name and the cells of the column of classes; {} for a list without labels."""
    if table.unlabeled:
        return {}
    if not table.several_labels:
        return {"label": [classes[label] for label in table.columns["label"].tolist()]}
    several = [table[video].labels or () for video in range(len(table))]
    end = ";" if all(len(labels) == 1 for labels in several) else ""  # distinguishes them from a list of one class each
    return {"labels": [";".join(classes[label] for label in labels) + end for labels in several]}


def _cell(value: np.generic) -> str:
    """Return a cell of seconds or frames, empty for NaN or -1."""
    number = value.item()
    return "" if number != number or number == -1 else repr(number)


def write_reasons(path: Path, reasons: Iterable[tuple[str, str]]) -> None:
    """Write the path and the reason of each file that failed, a JSON object a line; without one, remove the file."""
    lines = [json.dumps({"path": name, "reason": reason}) + "\n" for name, reason in reasons]
    path.unlink(missing_ok=True)
    if lines:
        write_text(path, "".join(lines))


def keep_order(folder: Path, classes: Sequence[str]) -> None:
    """Write ``classes`` to the classes.txt of ``folder``, which sets their order for the lists there.

    Raises:
        InputError: if a classes.txt with another order exists.
    """
    path = folder / CLASSES_FILE
    if not path.exists():
        write_classes(path, classes)
    elif read_classes(path) != tuple(classes):
        raise InputError(f"{path} has other classes or another order than the list. Name another folder.", setting="to")
