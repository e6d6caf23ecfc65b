"""Clips of a batch, by position: how many are processed together, how they are selected, values on their device."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch


def parts(places: np.ndarray, device: torch.device, at_once: int | None) -> Iterator[np.ndarray]:
    """Split the positions ``places`` int64 [N] into parts of ``at_once``; None is what is fastest on ``device``.

    That is one clip on a CPU, whose levels fit the cache and reuse the memory of the clip before, and all clips on a
    GPU, for the fewest kernels (benchmarks/augment.py).
    """
    size = at_once or (1 if device.type == "cpu" else max(len(places), 1))
    return (places[first : first + size] for first in range(0, len(places), size))


def clip_index(places: np.ndarray, device: torch.device) -> slice | torch.Tensor:
    """Return the index that selects the clips ``places``: a slice, which needs no copy, for a single clip."""
    return slice(int(places[0]), int(places[0]) + 1) if len(places) == 1 else to_device(places, device)


def to_device(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return ``values`` on ``device``, without waiting for the copy."""
    return torch.from_numpy(values).to(device, non_blocking=True)
