"""Values that the parts of videopool exchange: videos, clips, batches and scores.

Shapes: B batch, V videos, K classes, C channels, T frames, H rows, W columns. Times are seconds from the first frame of
the file.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


@dataclasses.dataclass(frozen=True, slots=True)
class VideoRecord:
    """One video of a list, with its label.

    Attributes:
        id: the name in results, unique in most lists.
        path: the file, or the folder of frames.
        label: index of the class; of several classes the first; -1 without a class.
        start_seconds, end_seconds: the span to take clips from; None: the start or end of the file.
        labels: all classes, if the videos of the list may have several; else None.
        part: (offset, size) in bytes, if the video is a part of ``path`` (a member of a tar file).
        frames: the number of images in the folder ``path``, 0 for all; None for a video file.
        may_be_cut: ``path`` may be the whole video or a file of the span alone.
        start_frame, end_frame: a span in frames of the file from 0, instead of seconds; ``end_frame`` is exclusive.
    """

    id: str
    path: Path
    label: int
    start_seconds: float | None = None
    end_seconds: float | None = None
    labels: tuple[int, ...] | None = None
    part: tuple[int, int] | None = None
    frames: int | None = None
    may_be_cut: bool = False
    start_frame: int | None = None
    end_frame: int | None = None

    def __post_init__(self) -> None:
        if self.label < -1 or min(self.labels or (0,)) < 0:
            lowest = min((self.label, *(self.labels or ())))
            raise ValueError(f"{self.path}: label {lowest} is negative; labels count from 0")
        start, end = self.start_seconds or 0.0, self.end_seconds
        if start < 0 or (end is not None and end <= start):
            raise ValueError(f"{self.path}: the span {start}..{end} s is empty or starts before 0")
        first, last = self.start_frame or 0, self.end_frame
        if first < 0 or (last is not None and last <= first):
            raise ValueError(f"{self.path}: the span of frames {first}..{last} is empty or starts before 0")
        frames, seconds = (self.start_frame, last), (self.start_seconds, end)
        if frames != (None, None) and seconds != (None, None):
            raise ValueError(f"{self.path}: give a span in seconds {seconds} or in frames {frames}, not both")


@dataclasses.dataclass(frozen=True)
class View:
    """One view of a video: clip ``temporal`` of ``temporals``, crop ``spatial`` of ``spatials``."""

    temporal: int
    temporals: int
    spatial: int
    spatials: int

    def __post_init__(self) -> None:
        if not (0 <= self.temporal < self.temporals and 0 <= self.spatial < self.spatials):
            raise ValueError(f"{self}: temporal and spatial must be smaller than temporals and spatials, and 0 or more")

    @property
    def index(self) -> int:
        """The position among the ``temporals * spatials`` views of the video."""
        return self.temporal * self.spatials + self.spatial


@dataclasses.dataclass(frozen=True)
class BadVideo:
    """A video that could not be decoded, and why. ``timed_out``: decoding took too long."""

    video: int
    path: str
    reason: str
    timed_out: bool = False


@dataclasses.dataclass(frozen=True)
class Clip:
    """One decoded clip.

    Attributes:
        frames: uint8 [C,T,H,W].
        label, video, view: the class, the position of the video in the list, and the index of the view.
        substituted: the clip replaces one that could not be decoded (in training only).
        bad: the videos that could not be decoded before this one was.
        seconds: when its first frame begins and its last one ends, in seconds; None in training.
    """

    frames: torch.Tensor
    label: int
    video: int
    view: int
    substituted: bool = False
    bad: tuple[BadVideo, ...] = ()
    seconds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.frames.dtype != torch.uint8 or self.frames.dim() != 4:
            raise ValueError(f"clip frames must be uint8 [C,T,H,W], got {_describe(self.frames)}")

    def __repr__(self) -> str:
        return f"Clip(frames={_describe(self.frames)}, label={self.label}, video={self.video}, view={self.view})"


@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch of clips.

    Attributes:
        clips: uint8 [B,C,T,H,W]. In evaluation, B is smaller than the batch size, or 0, if videos cannot be decoded.
        labels, video, view: int64 [B].
        substituted: bool [B].
        bad: the videos that could not be decoded.
        targets: float32 [B,K], 0 to 1: 1 for each class of a video that may have several, shares of classes in mixed
            clips; None: only ``labels``.
        seconds: float64 [B,2], start and end of each clip (``Clip.seconds``); None in training.
    """

    clips: torch.Tensor
    labels: torch.Tensor
    video: torch.Tensor
    view: torch.Tensor
    substituted: torch.Tensor
    bad: tuple[BadVideo, ...] = ()
    targets: torch.Tensor | None = None
    seconds: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.clips.dim() != 5:
            raise ValueError(f"batch clips must be [B,C,T,H,W], got {_describe(self.clips)}")
        for name in ("labels", "video", "view", "substituted"):
            column = getattr(self, name)
            if column.shape != (len(self.clips),):
                raise ValueError(f"batch {name} must be [{len(self.clips)}], got {_describe(column)}")
        if self.targets is not None and (self.targets.dim() != 2 or len(self.targets) != len(self.clips)):
            raise ValueError(f"batch targets must be [{len(self.clips)}, classes], got {_describe(self.targets)}")
        if self.seconds is not None and self.seconds.shape != (len(self.clips), 2):
            raise ValueError(f"batch seconds must be [{len(self.clips)}, 2], got {_describe(self.seconds)}")

    def __len__(self) -> int:
        return len(self.clips)

    def __repr__(self) -> str:
        return f"Batch(clips={_describe(self.clips)}, videos={self.video.tolist()}, bad={len(self.bad)})"

    def to(self, device: torch.device) -> Batch:
        """Return the batch on ``device``. The copy from pinned memory is asynchronous."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory. Called by torch's data loader."""
        return self._each(torch.Tensor.pin_memory)

    def split(self, size: int) -> list[Batch]:
        """Return one or more batches of at most ``size`` clips; the first has ``bad``."""
        starts = range(0, max(len(self), 1), size)
        parts = [self._each(operator.itemgetter(slice(start, start + size))) for start in starts]
        return [parts[0], *(dataclasses.replace(part, bad=()) for part in parts[1:])]

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        changed: dict[str, Any] = {
            name: change(value) for name, value in fields.items() if isinstance(value, torch.Tensor)
        }
        return dataclasses.replace(self, **changed)


@dataclasses.dataclass(frozen=True)
class Place:
    """Which clips of a training step a batch holds. Random numbers depend on it, not on the process. ::

        step of 12 clips, 2 processes, 3 clips in a forward pass
        0 1 2 | 3 4 5 || 6 7 8 | 9 10 11         the third batch is Place(first=6, size=3, whole=12)

    Attributes:
        first: number of the first clip.
        size: clips in the batch.
        whole: clips of the step.
        group: clips that share batch-norm statistics and are mixed with each other; divides ``size``.
    """

    first: int
    size: int
    whole: int
    group: int

    @staticmethod
    def of(clips: int) -> Place:
        """Return the place of a batch that holds all ``clips`` of its step."""
        return Place(0, clips, clips, clips)

    @property
    def clips(self) -> slice:
        """The clips of the batch among those of the step."""
        return slice(self.first, self.first + self.size)


@dataclasses.dataclass(frozen=True)
class VideoScores:
    """Scores of V videos.

    Attributes:
        sums: class probabilities summed over the views of each video, float64 [V,K].
        views: the number of views in each sum, int64 [V].
        labels: int64 [V].
        expected_views: the number of views of a complete video; 0 for sliding windows, all of which are scored or none.
    """

    sums: torch.Tensor
    views: torch.Tensor
    labels: torch.Tensor
    expected_views: int

    def __post_init__(self) -> None:
        videos = len(self.sums)
        if self.sums.dim() != 2 or self.views.shape != (videos,) or self.labels.shape != (videos,):
            raise ValueError(
                f"video scores must be sums [V,K], views [V], labels [V], got {_describe(self.sums)}, "
                f"{_describe(self.views)}, {_describe(self.labels)}"
            )

    @property
    def complete(self) -> torch.Tensor:
        """bool [V]: whether every view of the video was scored."""
        return self.views == self.expected_views if self.expected_views else self.views > 0

    def __repr__(self) -> str:
        return (
            f"VideoScores(videos={len(self.sums)}, classes={self.sums.shape[1]}, complete={int(self.complete.sum())})"
        )


def _describe(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
