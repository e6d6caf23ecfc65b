"""The values that travel between the rooms of videopool.

Shape legend of the whole project: B batch, V videos, K classes, C channels, T frames, H rows, W columns.
Times are seconds from the first frame of the file; frame indices exist only inside ``videopool.data.decoding.decode``,
and in the spans of lists that give them so.
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
    """One labelled video of a list.

    Attributes:
        id: its name in results, unique in most lists.
        path: the file, or the folder of its frames.
        label: index of its class; of several classes the first; -1 without any, as in a list without labels.
        start_seconds, end_seconds: the span to take clips from; None is the start or end of the file.
        labels: all its classes, where the list gives a video several (and perhaps none); else None.
        part: (offset, size) in bytes, where the video is a part of ``path`` (a member of a tar file).
        frames: how many frames the folder ``path`` holds as images, 0 for all that are there; None for a video file.
        may_be_cut: the span is one of the whole video, and ``path`` may hold all of it or just that span.
        start_frame, end_frame: the span in frames of the file, counted from 0, ``end_frame`` exclusive; it becomes
            seconds when the file is opened and its rate is known. A record has a span in seconds or in frames.
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
            raise ValueError(f"{self.path}: label {self.label} is negative; labels count from 0")
        start, end = self.start_seconds or 0.0, self.end_seconds
        if start < 0 or (end is not None and end <= start):
            raise ValueError(f"{self.path}: time span {start}..{end} s is empty or begins before 0")
        first, last = self.start_frame or 0, self.end_frame
        if first < 0 or (last is not None and last <= first):
            raise ValueError(f"{self.path}: the span of frames {first}..{last} is empty or begins before 0")
        frames, seconds = (self.start_frame, last), (self.start_seconds, end)
        if frames != (None, None) and seconds != (None, None):
            raise ValueError(f"{self.path}: a span is in seconds or in frames, got seconds {seconds}, frames {frames}")


@dataclasses.dataclass(frozen=True)
class View:
    """Which of the views of a video: clip ``temporal`` of ``temporals``, crop ``spatial`` of ``spatials``."""

    temporal: int
    temporals: int
    spatial: int
    spatials: int

    def __post_init__(self) -> None:
        if not (0 <= self.temporal < self.temporals and 0 <= self.spatial < self.spatials):
            raise ValueError(f"view {self} counts outside of its totals")

    @property
    def index(self) -> int:
        """Position of the view among the ``temporals * spatials`` views of its video."""
        return self.temporal * self.spatials + self.spatial


@dataclasses.dataclass(frozen=True)
class BadVideo:
    """A video that could not be decoded, and why: one line of ``bad_videos.jsonl``. ``timed_out``: it took too long."""

    video: int
    path: str
    reason: str
    timed_out: bool = False


@dataclasses.dataclass(frozen=True)
class Clip:
    """One decoded clip: ``frames`` uint8 [C,T,H,W]; ``video`` and ``view`` are indices into list and plan.

    ``substituted`` marks a clip that stands in for a video that could not be decoded (training only);
    ``bad`` names the videos that failed on the way to it.
    """

    frames: torch.Tensor
    label: int
    video: int
    view: int
    substituted: bool = False
    bad: tuple[BadVideo, ...] = ()

    def __post_init__(self) -> None:
        if self.frames.dtype != torch.uint8 or self.frames.dim() != 4:
            raise ValueError(f"clip frames must be uint8 [C,T,H,W], got {_describe(self.frames)}")

    def __repr__(self) -> str:
        return f"Clip(frames={_describe(self.frames)}, label={self.label}, video={self.video}, view={self.view})"


@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch: ``clips`` uint8 [B,C,T,H,W]; ``labels``, ``video``, ``view`` int64 [B]; ``substituted`` bool [B].

    ``bad`` lists the videos that failed while the batch was made. In evaluation nothing is substituted, so B
    may be smaller than asked for, and 0 when every video of the batch failed.

    ``targets`` float32 [B,K], 0 to 1, is what training aims at where a label does not say it: 1 for each class of a
    video that may have several, and parts of classes where clips are mixed. None: the label alone.
    """

    clips: torch.Tensor
    labels: torch.Tensor
    video: torch.Tensor
    view: torch.Tensor
    substituted: torch.Tensor
    bad: tuple[BadVideo, ...] = ()
    targets: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.clips.dim() != 5:
            raise ValueError(f"batch clips must be [B,C,T,H,W], got {_describe(self.clips)}")
        for name in ("labels", "video", "view", "substituted"):
            column = getattr(self, name)
            if column.shape != (len(self.clips),):
                raise ValueError(f"batch {name} must be [{len(self.clips)}], got {_describe(column)}")
        if self.targets is not None and (self.targets.dim() != 2 or len(self.targets) != len(self.clips)):
            raise ValueError(f"batch targets must be [{len(self.clips)}, classes], got {_describe(self.targets)}")

    def __len__(self) -> int:
        return len(self.clips)

    def __repr__(self) -> str:
        return f"Batch(clips={_describe(self.clips)}, videos={self.video.tolist()}, bad={len(self.bad)})"

    def to(self, device: torch.device) -> Batch:
        """The batch with its tensors on ``device``; the copy is asynchronous from pinned memory."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory (called by the data loader)."""
        return self._each(torch.Tensor.pin_memory)

    def split(self, size: int) -> list[Batch]:
        """The batch in parts of at most ``size`` clips, one part at least; ``bad`` goes with the first."""
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
class VideoScores:
    """Scores of V videos: float64 sums of class probabilities ``sums`` [V,K], ``labels`` [V].

    ``views`` [V] counts the views in each sum; ``expected_views`` is how many a complete video has, or 0 where each has
    as many as it is long, and is there whole or not at all (``evaluate`` sees to that).
    """

    sums: torch.Tensor
    views: torch.Tensor
    labels: torch.Tensor
    expected_views: int

    def __post_init__(self) -> None:
        videos = len(self.sums)
        if self.sums.dim() != 2 or self.views.shape != (videos,) or self.labels.shape != (videos,):
            raise ValueError(
                f"video scores need sums [V,K], views [V], labels [V], got {_describe(self.sums)}, "
                f"{_describe(self.views)}, {_describe(self.labels)}"
            )

    @property
    def complete(self) -> torch.Tensor:
        """bool [V]: every view of the video was scored."""
        return self.views == self.expected_views if self.expected_views else self.views > 0

    def __repr__(self) -> str:
        return (
            f"VideoScores(videos={len(self.sums)}, classes={self.sums.shape[1]}, complete={int(self.complete.sum())})"
        )


def _describe(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
