"""The result of reading a list in any format: entries whose labels are text and whose paths may be relative."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from videopool.data.decoding.image_reader import IMAGE_SUFFIXES
from videopool.errors import InputError

VIDEO_SUFFIXES = (  # lowercase; file names may use any case
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3gpp", ".3g2", ".f4v", ".avi", ".divx", ".xvid"),
    *(".mkv", ".webm", ".ogv", ".ogm", ".flv", ".wmv", ".asf", ".rm", ".rmvb", ".nut", ".mjpg", ".mjpeg", ".gif"),
    *(".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".mod", ".tod", ".ts", ".mts", ".m2t", ".m2ts", ".mxf", ".dv"),
    *(".y4m", ".ivf", ".obu", ".av1", ".h264", ".264", ".avc", ".h265", ".265", ".hevc"),
)
SUFFIXES = (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)


@dataclasses.dataclass(frozen=True, slots=True)
class ListEntry:
    """A video as a list names it.

    Attributes:
        path: its file, or the folder of its frames; absolute or relative to the base folder of the list; with ``/``.
        label: its class, a name or a number that counts from 0; "" if the list has no labels.
        labels: its classes, if videos of the list may have several; else None.
        label_id: the number of its class, if the list has both names and numbers.
        start_seconds, end_seconds: the span to take clips from; None is the start or end of the file.
        start_frame, end_frame: the span in frames from 0, the end exclusive, if the list gives it in frames.
        part: (offset, size) in bytes of a member of the tar file ``path``.
        frames: number of images in the folder ``path``; 0 means all of them. None for a video file.
        may_be_cut: ``path`` may hold the whole video or only the span.
        file, line: where the list names the video, for error messages; line 0 if ``file`` says enough.
    """

    path: str
    label: str = ""
    labels: tuple[str, ...] | None = None
    label_id: int | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None
    start_frame: int | None = None
    end_frame: int | None = None
    part: tuple[int, int] | None = None
    frames: int | None = None
    may_be_cut: bool = False
    file: str = ""
    line: int = 0

    @property
    def where(self) -> str:
        """``file:line``, for error messages."""
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def all_labels(self) -> tuple[str, ...]:
        """All classes of the video; () if it has none."""
        if self.labels is not None:
            return self.labels
        return (self.label,) if self.label else ()


@dataclasses.dataclass(frozen=True)
class Listing:
    """The videos of a source.

    Attributes:
        entries: the videos, in the order of the list.
        base: the folder that relative paths start from.
        classes: class names in the order that the data set prescribes; () if it prescribes none.
        classes_file: the file that prescribes the order, "" without one.
        note: a sentence about what was skipped or not found, or "".
        numbers_are_names: a label of digits is a class name, not the number of a class.
    """

    entries: list[ListEntry]
    base: Path
    classes: tuple[str, ...] = ()
    classes_file: str = ""
    note: str = ""
    numbers_are_names: bool = False


def counted(number: int, noun: str) -> str:
    """Return "1 video" or "2 videos"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def joined(*notes: str) -> str:
    """Join the notes that are not empty."""
    return "; ".join(filter(None, notes))


def data_suffixes(names: Iterable[str]) -> tuple[str, ...]:
    """Return the suffixes of the files among ``names`` that are data: those of videos if there are any, else of images.

    Images next to videos are previews. Animated GIFs are videos, unless there are fewer of them than other images.
    """
    lowered = [name.lower() for name in names]
    animated = sum(name.endswith(".gif") for name in lowered)
    videos = sum(name.endswith(VIDEO_SUFFIXES) for name in lowered)
    images = sum(name.endswith(IMAGE_SUFFIXES) for name in lowered)
    return VIDEO_SUFFIXES if videos > animated or animated >= images else IMAGE_SUFFIXES


def refuse_flags(entries: Sequence[ListEntry]) -> None:
    """Raise InputError for a list with one 0 or 1 per class (``0 1 0 0``) instead of class numbers.

    In such a list all rows have equally many labels, all 0 or 1, and some row repeats one.
    """
    rows = [entry.all_labels for entry in entries]
    flags = all(len(row) == len(rows[0]) and {*row} <= {"0", "1"} for row in rows)
    repeated = next((entry for entry, row in zip(entries, rows, strict=True) if len({*row}) < len(row)), None)
    if flags and repeated is not None:
        raise InputError(
            f"{repeated.where}: {' '.join(repeated.all_labels)} looks like one 0 or 1 per class. Give the numbers of "
            "the classes that the video has."
        )


def is_number(text: str) -> bool:
    """Return whether ``text`` is a whole number of 0 or more."""
    return text.isascii() and text.isdigit()


def named_by_numbers(classes: Sequence[str]) -> bool:
    """Return whether class names are numbers other than their positions, so that a number can only be a name."""
    return all(map(is_number, classes)) and [int(name) for name in classes] != list(range(len(classes)))
