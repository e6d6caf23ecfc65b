"""The distinct files of a list: many videos of a list may be in one file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from videopool.data.lists.table import VideoTable
from videopool.types import VideoRecord


class ListedFile(NamedTuple):
    """A file of a list: its path, and its ``part`` or number of ``frames`` as in ``VideoRecord``."""

    path: str
    part: tuple[int, int] | None = None
    frames: int | None = None

    @property
    def name(self) -> str:
        """The name of the file in reports."""
        return self.path if self.part is None else f"{self.path}#{self.part[0]}"

    def record(self, base: Path) -> VideoRecord:
        """Return a record of the whole file; relative paths start from ``base``."""
        return VideoRecord(self.path, base / self.path, 0, part=self.part, frames=self.frames)


@dataclasses.dataclass(frozen=True)
class DistinctFiles:
    """The F files of V videos: ``number`` of each file; ``of_video`` int64 [V], the number of each video's file."""

    number: dict[ListedFile, int]
    of_video: np.ndarray

    def __len__(self) -> int:
        return len(self.number)


def distinct_files(table: VideoTable) -> DistinctFiles:
    """Return the files of the videos in ``table``, in the order in which they first occur."""
    number: dict[ListedFile, int] = {}
    of_video = np.empty(len(table), dtype=np.int64)
    plain = not {"part_size", "frames"} & set(table.columns)
    for video in range(len(table)):
        path = table.path_at(video)
        file = ListedFile(path) if plain else ListedFile(path, table[video].part, table[video].frames)
        of_video[video] = number.setdefault(file, len(number))
    return DistinctFiles(number, of_video)
