"""Lists of folders of frames, without a header: ``folder frames label`` or ``folder first last label``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from videopool.data.lists.formats.entries import ListEntry, Listing
from videopool.data.lists.formats.lines import AFTER_SUFFIX, SEPARATOR, unquoted
from videopool.data.lists.formats.list_source import ListSource
from videopool.data.lists.formats.text import data_lines
from videopool.errors import InputError

_COUNTED = re.compile(rf'^("[^"]+"|.*?[^\s,;]){SEPARATOR}(\d+){SEPARATOR}(\d+)$', re.ASCII)
_SPANNED = re.compile(rf'^("[^"]+"|[^\s,;]+){SEPARATOR}(\d+){SEPARATOR}(\d+){SEPARATOR}(\d+)$', re.ASCII)


def claims(source: ListSource) -> bool:
    """Return whether the first line is ``folder frames label``: its path has no suffix, or is a folder."""
    counted, suffixed = _COUNTED.match(source.first_line), AFTER_SUFFIX.match(source.first_line)
    if counted is None or suffixed is None:
        return counted is not None
    return (source.base / suffixed[1].strip('"')).is_dir()


def read(source: ListSource) -> Listing:
    """Return the folders of a list.

    If every line has three numbers they are first frame, last frame and label; otherwise the last two are frames and
    label. Frames must begin at 0 or 1.
    """
    rows = list(data_lines(source.lines))
    pattern = _SPANNED if all(_SPANNED.match(text) for _, text in rows) else _COUNTED
    return Listing([_entry(str(source.place), number, text, pattern) for number, text in rows], source.base)


def _entry(file: str, number: int, text: str, pattern: re.Pattern[str]) -> ListEntry:
    where, match = f"{file}:{number}", pattern.match(text)
    if match is None:
        raise InputError(f"{where}: {text!r} is not 'folder frames label' like the first line")
    folder, *counts, label = match.groups()
    frames = _frame_count(where, folder, [int(count) for count in counts])
    return ListEntry(unquoted(folder, where), str(int(label)), frames=frames, file=file, line=number)


def _frame_count(where: str, folder: str, counts: Sequence[int]) -> int:
    """Return the frames of a folder, given their number, or the first and last of them."""
    first, last = (1, *counts) if len(counts) == 1 else counts
    if first > 1:
        raise InputError(
            f"{where}: the frames of {folder} begin at {first}; expected 'folder frames label', or 'folder first last "
            "label' with the first frame 0 or 1. Quote names of folders that contain spaces."
        )
    if last < first:
        raise InputError(f"{where}: {folder} has no frames. Leave out the line.")
    return last - first + 1
