"""Lists without a header: ``path label``.

The path of a video ends at the last suffix (``.mp4``, ``.jpeg``, ...) that is followed by a space, tab, comma or
semicolon, so both path and class may contain spaces. Without a known suffix, a first word with any suffix is the path;
otherwise the line is split at its last tab, comma, semicolon or space, the first of these that it has. Either part may
be in double quotes. Empty lines and lines that start with ``#`` are skipped.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence

from videopool.data.lists.formats.column_names import LABEL_COLUMNS, PATH_COLUMNS
from videopool.data.lists.formats.entries import SUFFIXES, ListEntry, Listing, is_number, refuse_flags
from videopool.data.lists.formats.list_source import ListSource
from videopool.data.lists.formats.text import data_lines
from videopool.errors import InputError

SEPARATOR = r"(?:\s*[,;\t]\s*|\s+)"
_SUFFIX_PATTERN = rf"\.(?:{'|'.join(suffix.removeprefix('.') for suffix in SUFFIXES)})"
AFTER_SUFFIX = re.compile(rf'^(.*{_SUFFIX_PATTERN}"?){SEPARATOR}(.*\S)$', re.IGNORECASE)
_ALL_QUOTED = re.compile(r'^"[^"]*"$')
_AFTER_QUOTE = re.compile(rf'^("[^"]+"){SEPARATOR}(.*\S)$')
_AFTER_OTHER_SUFFIX = re.compile(rf"^([^\s,;]+\.(?=[0-9]*[a-z])[a-z0-9]{{2,5}}){SEPARATOR}(.*\S)$", re.IGNORECASE)
_TITLE = re.compile(r"^(?://.*|[^\d/\\.]+)$")  # words without a path, or a comment of other languages
_SUFFIX = re.compile(_SUFFIX_PATTERN, re.IGNORECASE)
_NUMBERS = re.compile(r"^\d+(?:[\s,;]+\d+)+$", re.ASCII)  # several classes
_NUMBER_AND_TEXT = re.compile(r"^-?[\d.]+(?:[\s,;]+\S+)+$")
_TRAILING_COMMENT = re.compile(r"\s#\s")
_FRAME_LIST = {"original_vido_id", "video_id", "frame_id", "path"}  # the header of lists of single frames
_COUNTS_OF_FRAMES = (2, 3)  # numbers after a path in lists of other tools: frames, label; first, last, label


def read(source: ListSource) -> Listing:
    """Return the videos of a list."""
    _refuse_header(source)
    entries = [_entry(str(source.place), number, text) for number, text in data_lines(source.lines)]
    return Listing(_with_several_labels(entries), source.base)


def _refuse_header(source: ListSource) -> None:
    """Refuse a first line that seems to be the header of a table or a title."""
    rows = list(itertools.islice(data_lines(source.lines), 50))
    number, first = next(iter(rows), (0, ""))
    words, where = {*first.lower().split()}, f"{source.place}:{number}"
    if words > _FRAME_LIST:
        raise InputError(f"{where}: this is a list of single frames. Write a line 'folder frames label' per video.")
    if len(words) > 1 and words <= {*PATH_COLUMNS, *LABEL_COLUMNS}:
        raise InputError(f"{where}: the columns of a table must be separated by commas or tabs, not spaces")
    if len(rows) > 1 and _TITLE.match(first) and all(_SUFFIX.search(text) for _, text in rows[1:]):
        raise InputError(
            f"{where}: {first!r} is not a video, but the lines after it name some. If it is the header of a table, "
            "name its columns path and label; if it is a comment, start it with #."
        )


def _entry(file: str, number: int, text: str) -> ListEntry:
    """Return the video of a line; several numbers are several classes."""
    where = f"{file}:{number}"
    path, label = _split_line(text, where)
    if _NUMBERS.match(label):
        return ListEntry(path, labels=tuple(re.split(r"[\s,;]+", label)), file=file, line=number)
    if label != label.strip(",;") or _NUMBER_AND_TEXT.match(label):
        raise InputError(
            f"{where}: {label!r} is not a class; expected one name, or only numbers. Put a name that starts with a "
            "number in double quotes, and other columns in a table with the header path,label."
        )
    if _TRAILING_COMMENT.search(label) and label[0] != '"':
        raise InputError(
            f"{where}: label {label!r} seems to end with a comment. Put comments on their own lines, or a name with # "
            "in double quotes."
        )
    if ";" in label and label[0] != '"':
        raise InputError(
            f"{where}: {label!r} contains a semicolon. Give several classes as numbers, or in a table with the columns "
            "path and labels; put one name with a semicolon in double quotes."
        )
    return ListEntry(path, unquoted(label, where) if label else "", file=file, line=number)


def _split_line(text: str, where: str) -> tuple[str, str]:
    """Return (path, label) of a line; the label is "" if there is none."""
    if _ALL_QUOTED.match(text) or text.lower().endswith(SUFFIXES):
        return unquoted(text, where), ""
    match = _AFTER_QUOTE.match(text) or AFTER_SUFFIX.match(text) or _AFTER_OTHER_SUFFIX.match(text)
    if match:
        path, label = match.groups()
        return unquoted(path, where), label
    separator = next((mark for mark in "\t,; " if mark in text), None)
    if separator is None:
        return unquoted(text, where), ""
    path, label = text.rsplit(separator, 1)
    if not label.strip():
        raise _empty(where)
    return unquoted(path, where), label.strip()


def unquoted(text: str, where: str) -> str:
    """Return a path or label without double quotes around it. Raises InputError if nothing is left."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not text:
        raise _empty(where)
    return text


def _empty(where: str) -> InputError:
    return InputError(f"{where}: path or label is empty; expected 'path label'")


def _with_several_labels(entries: Sequence[ListEntry]) -> list[ListEntry]:
    """Return the entries, all with ``labels`` if one line has several numbers."""
    several = next((entry for entry in entries if entry.labels), None)
    if several is None:
        return list(entries)
    named = next((entry for entry in entries if entry.label and not is_number(entry.label)), None)
    if named is not None:
        raise InputError(
            f"{named.where}: label {named.label!r} is a name, but {several.where} has several numbers. Use numbers on "
            "all lines."
        )
    refuse_flags(entries)
    _refuse_counts_of_frames(entries)
    return [dataclasses.replace(one, label="", labels=(one.label,)) if one.label else one for one in entries]


def _refuse_counts_of_frames(entries: Sequence[ListEntry]) -> None:
    """Refuse ``path frames label`` and ``path first last label`` of video files, which other tools write.

    Numbers are taken for classes if they rise on every line, or if the lines have different counts of them.
    """
    lengths = {len(entry.all_labels) for entry in entries}
    rising = [[*map(int, entry.all_labels)] == sorted({*map(int, entry.all_labels)}) for entry in entries]
    if len(lengths) == 1 and lengths <= {*_COUNTS_OF_FRAMES} and not all(rising):
        odd = entries[rising.index(False)]
        raise InputError(
            f"{odd.where}: the numbers {' '.join(odd.all_labels)} may be classes, or frames and a class. Write classes "
            "in rising order, and 'path label' for a video of one class."
        )
