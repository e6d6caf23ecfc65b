"""What a network that tells several classes of a video is to say, and which classes a clip keeps when mirrored."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Sequence

import torch

from videopool.errors import InputError
from videopool.types import VideoRecord


@dataclasses.dataclass(frozen=True)
class LabelSets:
    """The classes of the videos of a list, ``classes`` (K) in all, as targets: 1 for each class of a video, 0 for the
    others. They are looked up batch by batch: those of all videos of a large list would fill gigabytes."""

    records: Sequence[VideoRecord]
    classes: int

    def __call__(self, videos: Iterable[int]) -> torch.Tensor:
        """float32 [N,K] of these N videos; a video without classes has zeros."""
        rows = [self._row(self.records[video]) for video in videos]
        return torch.stack(rows) if rows else torch.zeros(0, self.classes)

    def _row(self, record: VideoRecord) -> torch.Tensor:
        labels = (record.label,) if record.labels is None else record.labels
        row = torch.zeros(self.classes)
        row[list(labels)] = 1.0
        return row


def no_flip_labels(names: Sequence[str], classes: Sequence[str]) -> frozenset[int]:
    """The labels of the classes ``names``, which mirroring would turn into others (left into right).

    Raises:
        InputError: for a name that is not among ``classes``, with the nearest that is.
    """
    for name in names:
        if name not in classes:
            near = difflib.get_close_matches(name, classes, n=1, cutoff=0)
            raise InputError(f"augment.no_flip: {name!r} is not among the {len(classes)} classes; nearest: {near[0]!r}")
    return frozenset(classes.index(name) for name in names)
