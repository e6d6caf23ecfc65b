"""What every format is read into: the videos as a list names them, before classes are numbers and paths are whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from videopool.data.decoding.image_reader import IMAGE_SUFFIXES

VIDEO_SUFFIXES = (  # in lower case; files may use any case
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3gpp", ".3g2", ".f4v", ".avi", ".divx", ".xvid"),
    *(".mkv", ".webm", ".ogv", ".ogm", ".flv", ".wmv", ".asf", ".rm", ".rmvb", ".nut", ".mjpg", ".mjpeg", ".gif"),
    *(".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".mod", ".tod", ".ts", ".mts", ".m2t", ".m2ts", ".mxf", ".dv"),
    *(".y4m", ".ivf", ".obu", ".av1", ".h264", ".264", ".avc", ".h265", ".265", ".hevc"),
)
SUFFIXES = (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES)


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A video as it stands in a list.

    Attributes:
        file, line: where it is named, for messages; line 0 where ``file`` says it all.
        path: absolute, or from the folder where the paths of the list start; with ``/``.
        label: its class as written, a name or a number that counts from 0; "" where the list has none.
        labels: its classes as written, where the list gives a video several; else None.
        label_id: the number of its class, where a list has both.
        start, end: its span in seconds; None is the start or end of the file.
        part: (offset, size) in bytes of a member of the tar file ``path``.
        frames: how many images the folder ``path`` holds; 0 means all that are there.
        may_be_cut: ``path`` may hold the whole video or just its span.
        start_frame, end_frame: its span in frames from 0, the end exclusive, where the list gives it so.
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
    start_frame: int | None = None
    end_frame: int | None = None

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def written(self) -> tuple[str, ...]:
        """Its classes as written, however many; () without any."""
        if self.labels is not None:
            return self.labels
        return (self.label,) if self.label else ()


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


def counted(number: int, noun: str) -> str:
    """Return "1 video" or "2 videos"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def joined(*notes: str) -> str:
    """Return the sentences of a note that are not empty as one."""
    return "; ".join(filter(None, notes))


def counted_suffixes(names: Iterable[str]) -> tuple[str, ...]:
    """Return the suffixes of the files that are the data among ``names``: of videos, else of images.

    Images beside videos are previews. Animated pictures are videos, but a few of them among images make no videos.
    """
    lowered = [name.lower() for name in names]
    animated = sum(name.endswith(".gif") for name in lowered)
    videos = sum(name.endswith(VIDEO_SUFFIXES) for name in lowered)
    images = sum(name.endswith(IMAGE_SUFFIXES) for name in lowered)
    return VIDEO_SUFFIXES if videos > animated or animated >= images else IMAGE_SUFFIXES


def is_number(text: str) -> bool:
    """Whether ``text`` is a whole number from 0 on."""
    return text.isascii() and text.isdigit()


def numbers_name(classes: Sequence[str]) -> bool:
    """Whether classes have numbers for names, and not those of their places: then a number can only mean a name."""
    return all(map(is_number, classes)) and [int(name) for name in classes] != list(range(len(classes)))
