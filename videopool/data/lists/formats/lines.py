"""Lists without a header: ``path label``; for folders of frames ``folder frames label`` or ``folder first last label``.

The path of a video ends at the last suffix (``.mp4``, ``.jpeg``, ...) that is followed by a space, tab, comma or
semicolon, so both path and class may hold spaces. Where no suffix is a known one, a first word with any suffix is the
path; else the line is cut at its last tab, comma, semicolon or space, the first of these that it has. Either part may
stand in double quotes. Empty lines and lines that begin with ``#`` are passed over.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from videopool.data.lists.formats.entries import SUFFIXES, Entry, Listing, is_number
from videopool.data.lists.formats.several import refuse_flags
from videopool.data.lists.formats.text import data_lines
from videopool.errors import InputError

_SUFFIX_PATTERN = rf"\.(?:{'|'.join(suffix.removeprefix('.') for suffix in SUFFIXES)})"
_SEPARATOR = r"(?:\s*[,;\t]\s*|\s+)"
_AFTER_SUFFIX = re.compile(rf'^(.*{_SUFFIX_PATTERN}"?){_SEPARATOR}(.*\S)$', re.IGNORECASE)
_ALL_QUOTED = re.compile(r'^"[^"]*"$')
_AFTER_QUOTE = re.compile(rf'^("[^"]+"){_SEPARATOR}(.*\S)$')
_AFTER_OTHER_SUFFIX = re.compile(rf"^([^\s,;]+\.(?=[0-9]*[a-z])[a-z0-9]{{2,5}}){_SEPARATOR}(.*\S)$", re.IGNORECASE)
_COUNTED = re.compile(rf'^("[^"]+"|.*?[^\s,;]){_SEPARATOR}(\d+){_SEPARATOR}(\d+)$', re.ASCII)
_SPANNED = re.compile(rf'^("[^"]+"|[^\s,;]+){_SEPARATOR}(\d+){_SEPARATOR}(\d+){_SEPARATOR}(\d+)$', re.ASCII)
_TITLE = re.compile(r"^(?://.*|[^\d/\\.]+)$")  # words without a path, or a comment of other languages
_SUFFIX = re.compile(_SUFFIX_PATTERN, re.IGNORECASE)
_NUMBERS = re.compile(r"^\d+(?:[\s,;]+\d+)+$", re.ASCII)  # several classes
_SEVERAL = re.compile(r"^-?[\d.]+(?:[\s,;]+\S+)+$")  # a number, and more after it
_COMMENT_BEHIND = re.compile(r"\s#\s")
_FRAME_LIST = {"original_vido_id", "video_id", "frame_id", "path"}  # the header of lists of single frames
_COUNTS_OF_FRAMES = (2, 3)  # numbers after a path in lists of other tools: frames, label; first, last, label


def read(path: Path, lines: Sequence[str], base: Path) -> Listing:
    """Return the videos of a list ``path label``, or the folders of frames where its first line has two or three
    numbers.

    Raises:
        InputError: naming file and line, for a line that cannot be understood.
    """
    number, first = next(data_lines(lines), (0, ""))
    if set(first.lower().split()) > _FRAME_LIST:
        raise InputError(f"{path}:{number}: this lists single frames; give a line 'folder frames label' for each video")
    if _counts_frames(first, base):
        return Listing("frames", _read_frames(path, lines), base)
    _refuse_header(path, lines)
    entries = [_entry(str(path), number, text) for number, text in data_lines(lines)]
    return Listing("list", _with_several_labels(entries), base)


def _counts_frames(text: str, base: Path) -> bool:
    """Whether a line is ``folder frames label``: its path has no suffix, or is a folder."""
    counted, suffixed = _COUNTED.match(text), _AFTER_SUFFIX.match(text)
    if counted is None or suffixed is None:
        return counted is not None
    return (base / suffixed[1].strip('"')).is_dir()


def _refuse_header(path: Path, lines: Sequence[str]) -> None:
    """Refuse words alone before lines that all name a file: the header of a table of other columns, or a title."""
    rows = list(itertools.islice(data_lines(lines), 50))
    if len(rows) > 1 and _TITLE.match(rows[0][1]) and all(_SUFFIX.search(text) for _, text in rows[1:]):
        number, header = rows[0]
        raise InputError(
            f"{path}:{number}: {header!r} names no video, as the lines after it do; if it is a table's header, call "
            "its columns path and label; if it is a comment, begin it with #"
        )


def _entry(file: str, number: int, text: str) -> Entry:
    """Return the video of a line; several numbers are several classes."""
    where = f"{file}:{number}"
    path, label = _split_line(text, where)
    if _NUMBERS.match(label):
        return Entry(file, number, path, labels=tuple(re.split(r"[\s,;]+", label)))
    if label != label.strip(",;") or _SEVERAL.match(label):
        raise InputError(
            f"{where}: {label!r} is not a class; expected one name, or numbers alone; put a name that begins with a "
            "number in double quotes, and other columns in a table with the header path,label"
        )
    if _COMMENT_BEHIND.search(label) and label[0] != '"':
        raise InputError(
            f"{where}: label {label!r} seems to end with a comment; give comments lines of their own, or put a name "
            "that holds # in double quotes"
        )
    if ";" in label and label[0] != '"':
        raise InputError(
            f"{where}: {label!r} holds a semicolon; give several classes as numbers, or in a table with the columns "
            "path and labels; quote a name that holds one"
        )
    return Entry(file, number, path, _unquoted(label, where) if label else "")


def _split_line(text: str, where: str) -> tuple[str, str]:
    """Return (path, label) of a line, by the rule at the head of this module; the label is "" where there is none."""
    if _ALL_QUOTED.match(text) or text.lower().endswith(SUFFIXES):
        return _unquoted(text, where), ""
    match = _AFTER_QUOTE.match(text) or _AFTER_SUFFIX.match(text) or _AFTER_OTHER_SUFFIX.match(text)
    if match:
        path, label = match.groups()
        return _unquoted(path, where), label
    separator = next((mark for mark in "\t,; " if mark in text), None)
    if separator is None:
        return _unquoted(text, where), ""
    path, label = text.rsplit(separator, 1)
    if not label.strip():
        raise InputError(f"{where}: path or label is empty; expected 'path label'")
    return _unquoted(path, where), label.strip()


def _with_several_labels(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries, all with several labels where one line has several numbers."""
    several = next((entry for entry in entries if entry.labels), None)
    if several is None:
        return list(entries)
    named = next((entry for entry in entries if entry.label and not is_number(entry.label)), None)
    if named is not None:
        raise InputError(
            f"{named.where}: label {named.label!r} is a name, but {several.where} has several numbers; give numbers in "
            "all lines"
        )
    refuse_flags(entries)
    _refuse_counts_of_frames(entries)
    return [dataclasses.replace(one, label="", labels=(one.label,)) if one.label else one for one in entries]


def _refuse_counts_of_frames(entries: Sequence[Entry]) -> None:
    """Refuse ``path frames label`` and ``path first last label`` of video files, as other tools write them.

    Classes are told from such numbers by their order, or by their number, which is not the same in all lines.
    """
    lengths = {len(entry.written) for entry in entries}
    rising = [[*map(int, entry.written)] == sorted({*map(int, entry.written)}) for entry in entries]
    if len(lengths) == 1 and lengths <= {*_COUNTS_OF_FRAMES} and not all(rising):
        odd = entries[rising.index(False)]
        raise InputError(
            f"{odd.where}: the numbers {' '.join(odd.written)} may be classes, or frames and a class; write classes in "
            "rising order, and 'path label' for a video of one class"
        )


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
