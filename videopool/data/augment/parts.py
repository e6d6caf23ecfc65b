"""How many clips of a batch are worked on at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch


def parts(places: np.ndarray, device: torch.device, at_once: int | None) -> Iterator[np.ndarray]:
    """``places`` int64 [N] of clips, ``at_once`` by ``at_once``; None: as is fastest on the device.

    A processor takes one clip after another, whose levels fit its cache and use memory that is there from the clip
    before; a GPU takes all together, for the fewest kernels (benchmarks/augment.py).
    """
    size = at_once or (1 if device.type == "cpu" else max(len(places), 1))
    return (places[first : first + size] for first in range(0, len(places), size))


def index_of(places: np.ndarray, device: torch.device) -> slice | torch.Tensor:
    """What takes the clips ``places`` out of a batch, and puts them back; one clip alone without a copy."""
    return slice(int(places[0]), int(places[0]) + 1) if len(places) == 1 else sent(places, device)


def sent(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """The values on ``device``, without waiting for it."""
    return torch.from_numpy(values).to(device, non_blocking=True)
