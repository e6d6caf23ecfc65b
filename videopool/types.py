"""The values that travel between the rooms of videopool.

Shape legend of the whole project: B batch, V videos, K classes, C channels, T frames, H rows, W columns.
Times are seconds from the first frame of the file; frame indices exist only inside ``videopool.data.decode``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch


@dataclasses.dataclass(frozen=True, slots=True)
class VideoRecord:
    """One labelled video of a list: ``label`` is the index of its class; the span is None for the whole file."""

    id: str
    path: Path
    label: int
    start_seconds: float | None = None
    end_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.label < 0:
            raise ValueError(f"{self.path}: label {self.label} is negative; labels count from 0")
        start, end = self.start_seconds or 0.0, self.end_seconds
        if start < 0 or (end is not None and end <= start):
            raise ValueError(f"{self.path}: time span {start}..{end} s is empty or begins before 0")


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
    """A video that could not be decoded, and why: one line of ``bad_videos.jsonl``."""

    video: int
    path: str
    reason: str


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
    """

    clips: torch.Tensor
    labels: torch.Tensor
    video: torch.Tensor
    view: torch.Tensor
    substituted: torch.Tensor
    bad: tuple[BadVideo, ...] = ()

    def __post_init__(self) -> None:
        if self.clips.dim() != 5:
            raise ValueError(f"batch clips must be [B,C,T,H,W], got {_describe(self.clips)}")
        for name in ("labels", "video", "view", "substituted"):
            column = getattr(self, name)
            if column.shape != (len(self.clips),):
                raise ValueError(f"batch {name} must be [{len(self.clips)}], got {_describe(column)}")

    def __len__(self) -> int:
        return len(self.clips)

    def __repr__(self) -> str:
        return f"Batch(clips={_describe(self.clips)}, videos={self.video.tolist()}, bad={len(self.bad)})"

    def to(self, device: torch.device) -> Batch:
        """The batch with its tensors on ``device``; the copy is asynchronous from pinned memory."""
        moved = {
            field.name: getattr(self, field.name).to(device, non_blocking=True)
            for field in dataclasses.fields(self)
            if field.name != "bad"
        }
        return Batch(**moved, bad=self.bad)

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory (called by the data loader)."""
        pinned = {
            field.name: getattr(self, field.name).pin_memory()
            for field in dataclasses.fields(self)
            if field.name != "bad"
        }
        return Batch(**pinned, bad=self.bad)


@dataclasses.dataclass(frozen=True)
class VideoScores:
    """Scores of V videos: float64 sums of class probabilities ``sums`` [V,K], ``labels`` [V].

    ``views`` [V] counts the views in each sum; ``expected_views`` is how many a complete video has.
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
        return self.views == self.expected_views

    def __repr__(self) -> str:
        return (
            f"VideoScores(videos={len(self.sums)}, classes={self.sums.shape[1]}, complete={int(self.complete.sum())})"
        )


def _describe(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
