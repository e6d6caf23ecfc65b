"""The videos of a list as columns: no Python object for a video before it is asked for.

A million records are lists of a gigabyte in every worker as objects, and some 60 bytes each, which all workers of a
machine share, as columns mapped from a file (``columns``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from videopool.data.lists.columns import map_columns, take_rows, text_at, text_columns
from videopool.errors import InputError
from videopool.types import VideoRecord


class VideoTable(Sequence[VideoRecord]):
    """V videos as columns; ``table[i]`` makes the record of video i.

    Args:
        columns: ``path`` uint8 and ``path_ends`` int64 [V] (``text_columns``), ``label`` int32 [V]. Where some video
            has them: ``start``, ``end`` float64 [V] (seconds, NaN for none); ``labels`` int32 and ``labels_ends``
            int64 [V], all classes of each video; ``part_offset``, ``part_size`` int64 [V] (size -1 for none);
            ``frames`` int32 [V] (-1 for none); ``may_be_cut`` bool
            [V]; ``start_frame``, ``end_frame`` int32 [V] (-1 for none); ``reason`` uint8 and ``reason_ends`` int64 [V],
            why a video cannot be read. Others are left alone. ``label`` is -1 for a video without a class.
        base: the folder that relative paths start from.
        file: the file that the columns are mapped from, which other processes map again; None if they are in memory.
        replaced: columns in memory that take the place of those in ``file``.
    """

    def __init__(
        self,
        columns: Mapping[str, np.ndarray],
        base: Path,
        file: Path | None = None,
        replaced: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.columns = {**columns, **(replaced or {})}
        self.base = base
        self.file = file
        self._replaced = dict(replaced or {})
        self._state = None if file is None else _state(file)

    @staticmethod
    def from_records(records: Sequence[VideoRecord], base: Path) -> VideoTable:
        """The records as columns; ids are made anew from path, span and part."""
        return VideoTable(record_columns(records, base), base)

    @staticmethod
    def mapped(file: Path, base: Path, replaced: Mapping[str, np.ndarray] | None = None) -> VideoTable:
        """The table in ``file``; raises InputError for a file that is none."""
        return VideoTable(map_columns(file)[0], base, file, replaced)

    @property
    def label(self) -> np.ndarray:
        """int64 [V]: the column ``label``, the class of each video; the first of several, -1 without any."""
        return self.columns["label"].astype(np.int64)

    @property
    def several_labels(self) -> bool:
        """Whether a video may have several classes."""
        return "labels" in self.columns

    @property
    def unlabeled(self) -> bool:
        """Whether no video has a label, as in the test lists that some data sets publish."""
        return len(self) > 0 and not self.several_labels and bool((self.columns["label"] < 0).all())

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """int64 [P] each: a video and one of its classes, for all classes of all videos, in order."""
        videos = np.arange(len(self))
        if not self.several_labels:
            labeled = self.label >= 0
            return videos[labeled], self.label[labeled]
        lengths = np.diff(self.columns["labels_ends"], prepend=0)
        return np.repeat(videos, lengths), self.columns["labels"].astype(np.int64)

    def relabeled(self, numbers: Sequence[int]) -> VideoTable:
        """The same videos, ``numbers[k]`` in the place of class k; a column in memory, everything else as it is."""
        new = np.append(np.asarray(numbers, dtype=np.int32), np.int32(-1))  # -1, of a video without classes, stays
        replaced: dict[str, np.ndarray] = {
            name: new[self.columns[name]] for name in ("label", "labels") if name in self.columns
        }
        if self.file is None:
            return VideoTable({**self.columns, **replaced}, self.base)
        return VideoTable(self.columns, self.base, self.file, {**self._replaced, **replaced})

    def selected(self, videos: Sequence[int] | np.ndarray) -> VideoTable:
        """The table of these videos, in this order, in memory, with all their columns."""
        rows = np.asarray(videos, dtype=np.int64).reshape(-1)
        if ((rows < -len(self)) | (rows >= len(self))).any():
            raise IndexError(f"a video is selected that is not among the {len(self)} of the table")
        return VideoTable(take_rows(self.columns, rows % max(len(self), 1)), self.base)

    def path_at(self, video: int) -> str:
        """The path of video ``video`` (0 or more) as the list has it, from ``base``."""
        return text_at(self.columns["path"], self.columns["path_ends"], video)

    def count_bad(self) -> int:
        """How many videos are known to be unreadable."""
        return int(np.count_nonzero(np.diff(self.columns["reason_ends"], prepend=0))) if "reason" in self.columns else 0

    def reason(self, video: int) -> str:
        """Why video ``video`` (0 or more) cannot be read, as was found beforehand; "" where nothing is known of it."""
        return text_at(self.columns["reason"], self.columns["reason_ends"], video) if "reason" in self.columns else ""

    def __len__(self) -> int:
        return len(self.columns["label"])

    @overload
    def __getitem__(self, video: int) -> VideoRecord: ...
    @overload
    def __getitem__(self, video: slice) -> VideoTable: ...
    def __getitem__(self, video: int | slice) -> VideoRecord | VideoTable:
        if isinstance(video, slice):
            return self.selected(range(len(self))[video])
        index = range(len(self))[video]  # negative ones count from the end; IndexError for those beyond it
        path = self.path_at(index)
        start, end = self._seconds("start", index), self._seconds("end", index)
        span = self._whole("start_frame", index), self._whole("end_frame", index)
        part = self._part(index)
        return VideoRecord(
            id=record_id(path, start, end, part, span),
            path=self.base / path,
            label=int(self.columns["label"][index]),
            start_seconds=start,
            end_seconds=end,
            labels=self._labels(index),
            part=part,
            frames=self._whole("frames", index),
            may_be_cut="may_be_cut" in self.columns and bool(self.columns["may_be_cut"][index]),
            start_frame=span[0],
            end_frame=span[1],
        )

    def __repr__(self) -> str:
        return f"VideoTable({len(self)} videos, columns {', '.join(self.columns)})"

    def __reduce__(self) -> tuple[object, ...]:
        if self.file is not None:
            return _map_again, (self.file, self.base, self._replaced, self._state)
        return VideoTable, (self.columns, self.base)

    def _seconds(self, name: str, index: int) -> float | None:
        value = float(self.columns[name][index]) if name in self.columns else np.nan
        return None if np.isnan(value) else value

    def _part(self, index: int) -> tuple[int, int] | None:
        if "part_size" not in self.columns or self.columns["part_size"][index] < 0:
            return None
        return int(self.columns["part_offset"][index]), int(self.columns["part_size"][index])

    def _whole(self, name: str, index: int) -> int | None:
        """A whole number of the column ``name``, where -1 stands for none."""
        number = int(self.columns[name][index]) if name in self.columns else -1
        return None if number < 0 else number

    def _labels(self, index: int) -> tuple[int, ...] | None:
        if "labels" not in self.columns:
            return None
        ends = self.columns["labels_ends"]
        return tuple(self.columns["labels"][int(ends[index - 1]) if index else 0 : int(ends[index])].tolist())


def _state(file: Path) -> tuple[int, int]:
    """(bytes, time of the last change): another one, another file."""
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _map_again(file: Path, base: Path, replaced: dict[str, np.ndarray], state: tuple[int, int]) -> VideoTable:
    """The table in another process, which must have the videos of this one under the same numbers."""
    table = VideoTable.mapped(file, base, replaced)
    if table._state != state:
        raise InputError(f"{file}: was written anew while it was in use; start again")
    return table


def record_id(
    path: str,
    start: float | None,
    end: float | None,
    part: tuple[int, int] | None = None,
    frames: tuple[int | None, int | None] = (None, None),
) -> str:
    """Return the name of a video in results: its path, and what tells a part of a file from the whole.

    ``#offset`` (bytes) is a member of a tar file, ``@start-end`` a span in seconds, ``@fstart-end`` one in frames.
    """
    name = path if part is None else f"{path}#{part[0]}"
    if frames != (None, None):
        return f"{name}@f{'' if frames[0] is None else frames[0]}-{'' if frames[1] is None else frames[1]}"
    if start is None and end is None:
        return name
    return f"{name}@{'' if start is None else f'{start:g}'}-{'' if end is None else f'{end:g}'}"


def record_columns(records: Sequence[VideoRecord], base: Path) -> dict[str, np.ndarray]:
    """The columns of ``VideoTable`` for records whose paths are at or below ``base``, or absolute."""
    paths = [_relative(record.path, base) for record in records]
    columns: dict[str, np.ndarray] = {"label": np.array([record.label for record in records], dtype=np.int32)}
    columns["path"], columns["path_ends"] = text_columns(paths)
    for name, field in (("start", "start_seconds"), ("end", "end_seconds")):
        seconds = [getattr(record, field) for record in records]
        if any(value is not None for value in seconds):
            columns[name] = np.array([np.nan if value is None else value for value in seconds], dtype=np.float64)
    if any(record.labels is not None for record in records):
        several = [record.labels if record.labels is not None else (record.label,) for record in records]
        columns["labels"] = np.array([label for labels in several for label in labels], dtype=np.int32)
        columns["labels_ends"] = np.cumsum([len(labels) for labels in several], dtype=np.int64)
    if any(record.part is not None for record in records):
        parts = np.array([record.part or (0, -1) for record in records], dtype=np.int64)
        columns["part_offset"], columns["part_size"] = parts[:, 0].copy(), parts[:, 1].copy()
    for name in ("frames", "start_frame", "end_frame"):
        columns.update(whole_column(name, [getattr(record, name) for record in records]))
    if any(record.may_be_cut for record in records):
        columns["may_be_cut"] = np.array([record.may_be_cut for record in records], dtype=np.bool_)
    return columns


def whole_column(name: str, numbers: Sequence[int | None]) -> dict[str, np.ndarray]:
    """Return the column ``name`` of whole numbers, int32 with -1 for None; no column where all are None."""
    if all(number is None for number in numbers):
        return {}
    return {name: np.array([-1 if number is None else number for number in numbers], dtype=np.int32)}


def _relative(path: Path, base: Path) -> str:
    try:
        return path.relative_to(base).as_posix()
    except ValueError:
        return path.as_posix()
