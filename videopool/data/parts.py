"""Assign groups of videos to parts, such as training and testing, or the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def assign_parts(groups: Iterable[np.ndarray], counts: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """Return the part of each group, int64, so that each part gets about its fraction of every class.

    A group goes to the part that lacks most of it, if that part lacks the whole group. Otherwise it goes to the part
    furthest below its fraction, among those that lack some of the group. Equal parts are taken in order.

    Args:
        groups: the classes of the videos of each group, in the order of assignment; large groups should be first.
        counts: int64 [K], the videos of each class in all groups.
        fractions: of the parts; they add up to 1.
    """
    left = counts.copy()
    lacking = np.outer(counts, fractions)  # [K, parts]: how many videos of a class a part still needs
    drift = np.zeros(len(fractions))  # what the parts lack in total of classes that are used up
    parts = []
    for classes in groups:
        found, numbers = np.unique(classes, return_counts=True)
        lacks = lacking[found]
        wanted = (lacks / numbers[:, None]).mean(0)
        if 0 < wanted.max() < 1:
            wanted = np.where(wanted > 0, drift + lacks.sum(0), -np.inf)
        part = int(np.argmax(wanted))
        lacking[found, part] -= numbers
        left[found] -= numbers
        drift += lacking[found[left[found] == 0]].sum(0)
        parts.append(part)
    return np.array(parts, dtype=np.int64)
