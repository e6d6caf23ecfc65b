"""What every format is read into: the videos as a list names them, before classes are numbers and paths are whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from videopool.data.decoding.image_reader import IMAGE_SUFFIXES

VIDEO_SUFFIXES = (  # in lower case; files may use any case
    *(".mp4", ".m4v", ".mov", ".3gp", ".avi", ".mkv", ".webm", ".ogv"),
    *(".mpg", ".mpeg", ".ts", ".m2ts", ".flv", ".wmv"),
)
SUFFIXES = (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A video as it stands in a list.

    Attributes:
        file, line: where it is named, for messages; line 0 where ``file`` says it all.
        path: absolute, or from the folder where the paths of the list start; with ``/``.
        label: its class as written, a name or a number that counts from 0.
        labels: its classes as written, where the list gives a video several; else None.
        label_id: the number of its class, where a list has both.
        start, end: its span in seconds; None is the start or end of the file.
        part: (offset, size) in bytes of a member of the tar file ``path``.
        frames: how many images the folder ``path`` holds.
        may_be_cut: ``path`` may hold the whole video or just its span.
    """

    file: str
    line: int
    path: str
    label: str = ""
    labels: tuple[str, ...] | None = None
    label_id: int | None = None
    start: float | None = None
    end: float | None = None
    part: tuple[int, int] | None = None
    frames: int | None = None
    may_be_cut: bool = False

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclasses.dataclass(frozen=True)
class Listing:
    """The videos of a source.

    Attributes:
        format: its name in docs/lists.md.
        entries: the videos, in the order of the list.
        base: the folder where their paths start.
        classes: names in the order that the data set prescribes, () where it prescribes none; ``order`` says where.
        note: a sentence on what was left out or not found, or "".
    """

    format: str
    entries: list[Entry]
    base: Path
    classes: tuple[str, ...] = ()
    order: str = ""
    note: str = ""


def is_number(text: str) -> bool:
    """Whether ``text`` is a whole number from 0 on."""
    return text.isascii() and text.isdigit()


def numbers_name(classes: Sequence[str]) -> bool:
    """Whether classes have numbers for names, and not those of their places: then a number can only mean a name."""
    return all(map(is_number, classes)) and [int(name) for name in classes] != list(range(len(classes)))
