"""The videos of a list as columns, which make the object of a video when it is asked for.

A million records take a gigabyte in every worker as objects. As columns they take some 60 bytes each, and all workers
of a machine share those mapped from a file (``columns``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from videopool.data.lists.columns import map_columns, take_rows, text_at, text_columns
from videopool.data.lists.formats.entries import ListEntry
from videopool.errors import InputError
from videopool.types import VideoRecord


class VideoTable(Sequence[VideoRecord]):
    """V videos as columns; ``table[i]`` makes the record of video i.

    Args:
        columns: ``path`` uint8 and ``path_ends`` int64 [V] (``text_columns``); ``label`` int32 [V], the class of a
            video, the first of several, -1 without any. If some video has them: ``labels`` int32 and ``labels_ends``
            int64 [V], all classes of each video; ``start``, ``end`` float64 [V] (seconds, NaN for none);
            ``start_frame``, ``end_frame`` int32 [V] (-1 for none); ``part_offset``, ``part_size`` int64 [V] (size -1
            for none); ``frames`` int32 [V] (-1 for none); ``may_be_cut`` bool [V]; ``reason`` uint8 and ``reason_ends``
            int64 [V], why a video cannot be read. Other columns are kept.
        base: the folder that relative paths start from.
        file: the file that the columns are mapped from, which other processes map too; None if they are in memory.
        replaced: columns in memory that replace those of ``file``.
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
        """Return a table of records whose paths are at or below ``base``, or absolute. Their ids are not kept."""
        several = [(one.label,) if one.labels is None else one.labels for one in records]
        labels = several if any(one.labels is not None for one in records) else None
        paths = [
            (one.path.relative_to(base) if one.path.is_relative_to(base) else one.path).as_posix() for one in records
        ]
        return VideoTable(video_columns(records, paths, [record.label for record in records], labels), base)

    @property
    def label(self) -> np.ndarray:
        """int64 [V]: the column ``label``."""
        return self.columns["label"].astype(np.int64)

    @property
    def several_labels(self) -> bool:
        """Whether a video may have several classes."""
        return "labels" in self.columns

    @property
    def unlabeled(self) -> bool:
        """Whether no video has a label, as in the published test lists of some data sets."""
        return len(self) > 0 and not self.several_labels and bool((self.columns["label"] < 0).all())

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return int64 [P] twice: the number of a video and one of its classes, for all classes of all videos."""
        videos = np.arange(len(self))
        if not self.several_labels:
            labeled = self.label >= 0
            return videos[labeled], self.label[labeled]
        lengths = np.diff(self.columns["labels_ends"], prepend=0)
        return np.repeat(videos, lengths), self.columns["labels"].astype(np.int64)

    def relabeled(self, numbers: Sequence[int]) -> VideoTable:
        """Return the same videos with the label ``numbers[k]`` for class k; other columns are shared."""
        new = np.append(np.asarray(numbers, dtype=np.int32), np.int32(-1))  # -1, no class, stays
        replaced: dict[str, np.ndarray] = {
            name: new[self.columns[name]] for name in ("label", "labels") if name in self.columns
        }
        if self.file is None:
            return VideoTable({**self.columns, **replaced}, self.base)
        return VideoTable(self.columns, self.base, self.file, {**self._replaced, **replaced})

    def selected(self, videos: Sequence[int] | np.ndarray) -> VideoTable:
        """Return a table in memory of these videos, in this order, with all columns."""
        rows = np.asarray(videos, dtype=np.int64).reshape(-1)
        if ((rows < -len(self)) | (rows >= len(self))).any():
            raise IndexError(f"a selected video is not among the {len(self)} of the table")
        return VideoTable(take_rows(self.columns, rows % max(len(self), 1)), self.base)

    def path_at(self, video: int) -> str:
        """Return the path of video ``video`` (0 or more) as in the list, from ``base``."""
        return text_at(self.columns["path"], self.columns["path_ends"], video)

    def count_bad(self) -> int:
        """Return how many videos are known to be unreadable."""
        return int(np.count_nonzero(np.diff(self.columns["reason_ends"], prepend=0))) if "reason" in self.columns else 0

    def reason(self, video: int) -> str:
        """Return why a scan could not read video ``video`` (0 or more); "" if it could, or without a scan."""
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
        index = range(len(self))[video]  # counts negative numbers from the end; IndexError outside
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
        """Return a number of the column ``name``, in which -1 is none."""
        number = int(self.columns[name][index]) if name in self.columns else -1
        return None if number < 0 else number

    def _labels(self, index: int) -> tuple[int, ...] | None:
        if "labels" not in self.columns:
            return None
        ends = self.columns["labels_ends"]
        return tuple(self.columns["labels"][int(ends[index - 1]) if index else 0 : int(ends[index])].tolist())


def _state(file: Path) -> tuple[int, int]:
    """Return the size and modification time of a file, which differ if it is replaced."""
    found = file.stat()
    return found.st_size, found.st_mtime_ns


def _map_again(file: Path, base: Path, replaced: dict[str, np.ndarray], state: tuple[int, int]) -> VideoTable:
    """Return the table in another process, where every number must mean the same video as in the first."""
    table = VideoTable(map_columns(file)[0], base, file, replaced)
    if table._state != state:
        raise InputError(f"{file} was replaced while it was in use. Run the command again.")
    return table


def record_id(
    path: str,
    start: float | None,
    end: float | None,
    part: tuple[int, int] | None = None,
    frames: tuple[int | None, int | None] = (None, None),
) -> str:
    """Return the name of a video in results: its path, and a suffix that tells a part of a file from the whole.

    ``#offset`` (bytes) is a member of a tar file, ``@start-end`` a span in seconds, ``@fstart-end`` one in frames.
    """
    name = path if part is None else f"{path}#{part[0]}"
    if frames != (None, None):
        return f"{name}@f{'' if frames[0] is None else frames[0]}-{'' if frames[1] is None else frames[1]}"
    if start is None and end is None:
        return name
    return f"{name}@{'' if start is None else f'{start:g}'}-{'' if end is None else f'{end:g}'}"


def video_columns(
    videos: Sequence[VideoRecord] | Sequence[ListEntry],
    paths: Sequence[str],
    label: Sequence[int],
    labels: Sequence[Sequence[int]] | None,
) -> dict[str, np.ndarray]:
    """Return the columns of ``VideoTable`` for ``videos``; optional ones only if some video needs them.

    Args:
        videos: their spans, parts and frames.
        paths: their paths from the base of the table.
        label: the class of each, -1 for none.
        labels: all classes of each; None if no video may have several.
    """
    columns: dict[str, np.ndarray] = {"label": np.array(label, dtype=np.int32)}
    columns["path"], columns["path_ends"] = text_columns(paths)
    if labels is not None:
        columns["labels"] = np.array([number for numbers in labels for number in numbers], dtype=np.int32)
        columns["labels_ends"] = np.cumsum([len(numbers) for numbers in labels], dtype=np.int64)
    for name, field in (("start", "start_seconds"), ("end", "end_seconds")):
        seconds = [getattr(video, field) for video in videos]
        if any(value is not None for value in seconds):
            columns[name] = np.array(seconds, dtype=np.float64)  # None becomes NaN
    for name in ("start_frame", "end_frame", "frames"):
        numbers = [getattr(video, name) for video in videos]
        if any(number is not None for number in numbers):
            columns[name] = np.array([-1 if number is None else number for number in numbers], dtype=np.int32)
    if any(video.part is not None for video in videos):
        parts = np.array([video.part or (0, -1) for video in videos], dtype=np.int64)
        columns["part_offset"], columns["part_size"] = parts[:, 0].copy(), parts[:, 1].copy()
    if any(video.may_be_cut for video in videos):
        columns["may_be_cut"] = np.array([video.may_be_cut for video in videos], dtype=np.bool_)
    return columns
