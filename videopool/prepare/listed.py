"""The files behind a list: each once, however many videos of the list lie in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from videopool.data.lists.records import VideoList, read_videos
from videopool.data.lists.table import VideoTable
from videopool.errors import InputError
from videopool.types import VideoRecord


class Listed(NamedTuple):
    """A file of a list: its path, and its ``part`` or number of ``frames`` as in ``VideoRecord``."""

    path: str
    part: tuple[int, int] | None = None
    frames: int | None = None

    @property
    def name(self) -> str:
        """For people."""
        return self.path if self.part is None else f"{self.path}#{self.part[0]}"

    def record(self, base: Path) -> VideoRecord:
        """A record of the whole file, to open it with; relative paths start from ``base``."""
        return VideoRecord(self.path, base / self.path, 0, part=self.part, frames=self.frames)


@dataclasses.dataclass(frozen=True)
class ListedFiles:
    """The F files of V videos: ``number`` of each file; ``of_video`` int64 [V], the number of each video's file."""

    number: dict[Listed, int]
    of_video: np.ndarray

    def __len__(self) -> int:
        return len(self.number)


def files_of(table: VideoTable) -> ListedFiles:
    """Return the files of the videos in ``table``, in the order in which they first occur."""
    number: dict[Listed, int] = {}
    of_video = np.empty(len(table), dtype=np.int64)
    plain = not {"part_size", "frames"} & set(table.columns)
    for video in range(len(table)):
        path = table.path_at(video)
        file = Listed(path) if plain else Listed(path, table[video].part, table[video].frames)
        of_video[video] = number.setdefault(file, len(number))
    return ListedFiles(number, of_video)


def read_list(source: str, root: str | None) -> VideoList:
    """Call ``read_videos``; its errors name the option ``--root`` instead of ``data.root``."""
    try:
        return read_videos(source, root)
    except InputError as error:
        raise InputError(str(error).replace("data.root=", "--root ").replace("data.root", "--root")) from None
