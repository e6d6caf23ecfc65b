"""Lists without a header: ``path label``; for folders of frames ``folder frames label`` or ``folder first last label``.

The path of a video ends at the last suffix (``.mp4``, ``.jpeg``, ...) that is followed by a space, tab or comma, so
both path and class may hold spaces; without a known suffix the line is cut at its last tab, else its last comma, else
its last space. Either part may stand in double quotes. Empty lines and lines that begin with ``#`` are passed over.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from videopool.data.lists.formats.entries import SUFFIXES, Entry, Listing
from videopool.data.lists.formats.text import data_lines
from videopool.errors import InputError

_SUFFIX_PATTERN = "|".join(re.escape(suffix) for suffix in SUFFIXES)
_SEPARATOR = r"(?:\s*[,\t]\s*|\s+)"
_AFTER_SUFFIX = re.compile(rf'^(.*(?:{_SUFFIX_PATTERN})"?){_SEPARATOR}(.*\S)$', re.IGNORECASE)
_AFTER_QUOTE = re.compile(rf'^("[^"]+"){_SEPARATOR}(.*\S)$')
_COUNTED = re.compile(rf'^("[^"]+"|.*?[^\s,]){_SEPARATOR}(\d+){_SEPARATOR}(\d+)$', re.ASCII)
_SPANNED = re.compile(rf'^("[^"]+"|[^\s,]+){_SEPARATOR}(\d+){_SEPARATOR}(\d+){_SEPARATOR}(\d+)$', re.ASCII)
_WORDS, _SUFFIX = re.compile(r"^[A-Za-z_\s,]+$"), re.compile(_SUFFIX_PATTERN, re.IGNORECASE)
_SEVERAL = re.compile(r"^[\d.]+(?:[\s,]+\S+)+$")  # a number, and more behind it
_FRAME_LIST = {"original_vido_id", "video_id", "frame_id", "path"}  # the header of lists of single frames


def read(path: Path, lines: Sequence[str], base: Path) -> Listing:
    """The videos of a list ``path label``, or the folders of frames where its first line has two or three numbers.

    Raises:
        InputError: naming file and line, for a line that cannot be understood.
    """
    number, first = next(data_lines(lines), (0, ""))
    if set(first.lower().split()) > _FRAME_LIST:
        raise InputError(f"{path}:{number}: this lists single frames; give a line 'folder frames label' for each video")
    if _COUNTED.match(first) and not _AFTER_SUFFIX.match(first):
        return Listing("frames", _read_frames(path, lines), base)
    _refuse_header(path, lines)
    entries = [Entry(str(path), number, *_split_line(text, f"{path}:{number}")) for number, text in data_lines(lines)]
    return Listing("list", entries, base)


def _refuse_header(path: Path, lines: Sequence[str]) -> None:
    """Words alone, before lines that all name a file, are the header of a table of other columns."""
    rows = list(itertools.islice(data_lines(lines), 50))
    if len(rows) > 1 and _WORDS.match(rows[0][1]) and all(_SUFFIX.search(text) for _, text in rows[1:]):
        number, header = rows[0]
        raise InputError(
            f"{path}:{number}: {header!r} names no video, as the lines behind it do; if it is a table's header, call "
            "its columns path and label"
        )


def _split_line(text: str, where: str) -> tuple[str, str]:
    """(path, label) of a line ``path label``; the rule stands at the head of this module."""
    match = _AFTER_QUOTE.match(text) or _AFTER_SUFFIX.match(text)
    if match:
        path, label = match.groups()
    else:
        separator = next((mark for mark in "\t, " if mark in text), None)
        if separator is None or text.lower().endswith(SUFFIXES):
            raise InputError(f"{where}: {text!r} has no label; expected 'path label'")
        path, label = text.rsplit(separator, 1)
    if label != label.strip(",") or _SEVERAL.match(label):
        raise InputError(
            f"{where}: {label!r} is no class; expected one, by name or number, and nothing behind it (several classes "
            "a video: docs/lists.md)"
        )
    return _unquoted(path, where), _unquoted(label, where)


def _unquoted(text: str, where: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not text:
        raise InputError(f"{where}: path or label is empty; expected 'path label'")
    return text


def _read_frames(path: Path, lines: Sequence[str]) -> list[Entry]:
    """Three numbers in every line are first frame, last frame and label; else the last two are frames and label."""
    spanned = [_SPANNED.match(text) for _, text in data_lines(lines)]
    pattern = _SPANNED if all(spanned) else _COUNTED
    return [_frames_entry(str(path), number, text, pattern) for number, text in data_lines(lines)]


def _frames_entry(file: str, number: int, text: str, pattern: re.Pattern[str]) -> Entry:
    match = pattern.match(text)
    if match is None:
        raise InputError(f"{file}:{number}: {text!r} is not 'folder frames label', as the first line is")
    folder, *counts, label = match.groups()
    frames = _frame_count(f"{file}:{number}", folder, [int(count) for count in counts])
    return Entry(file, number, _unquoted(folder, f"{file}:{number}"), str(int(label)), frames=frames)


def _frame_count(where: str, folder: str, counts: Sequence[int]) -> int:
    """Frames of a folder, from how many they are or from the numbers (first, last) of its frames."""
    first, last = (1, *counts) if len(counts) == 1 else counts
    if first > 1:
        raise InputError(
            f"{where}: the frames of {folder} begin at {first}; expected 'folder frames label', or 'folder first last "
            "label' with the first frame 0 or 1; quote names of folders that hold spaces"
        )
    if last < first:
        raise InputError(f"{where}: {folder} has no frames; leave the line out")
    return last - first + 1
