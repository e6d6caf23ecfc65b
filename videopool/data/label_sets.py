"""Targets of videos with several classes, and the classes whose clips are not mirrored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import torch

from videopool.errors import InputError, did_you_mean
from videopool.types import VideoRecord


@dataclasses.dataclass(frozen=True)
class LabelSets:
    """The targets of the videos of a list: 1 for each class of a video, 0 for the others; ``classes`` is K.

    They are made for a batch at a time, because those of all videos of a large list would fill gigabytes.
    """

    records: Sequence[VideoRecord]
    classes: int

    def __call__(self, videos: Iterable[int]) -> torch.Tensor:
        """Return float32 [N,K] for these N videos; a video without classes has zeros."""
        shown = [self.records[video] for video in videos]
        targets = torch.zeros(len(shown), self.classes)
        for row, record in zip(targets, shown, strict=True):
            row[[record.label] if record.labels is None else list(record.labels)] = 1.0
        return targets


def no_flip_labels(names: Sequence[str], classes: Sequence[str]) -> frozenset[int]:
    """Return the labels of the classes ``names``, which mirroring would turn into others (left into right).

    Raises:
        InputError: if a name is not among ``classes``; it suggests the nearest one.
    """
    for name in names:
        if name not in classes:
            hint = did_you_mean(name, classes, cutoff=0)
            raise InputError(f"{name!r} is not one of the {len(classes)} classes. {hint}", setting="no_flip")
    return frozenset(classes.index(name) for name in names)
