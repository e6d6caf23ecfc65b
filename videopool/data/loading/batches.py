"""A data set whose items are whole batches, which workers put into slots."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset, Sampler

from videopool.data.loading.dataset import NoClip
from videopool.data.loading.slots import SlotBatch, Slots, slots_exist
from videopool.types import Batch


@dataclasses.dataclass(frozen=True)
class BatchRequest:
    """What a worker needs to make a batch.

    Attributes:
        keys: of the data set.
        slot: for the clips; None if none was free.
        excluded: videos that must not be opened, found since the workers started, with the reasons.
    """

    keys: Sequence[Any]
    slot: int | None
    excluded: Mapping[int, str]


class BatchDataset(Dataset[Batch | SlotBatch | NoClip]):
    """The batch of each ``BatchRequest``: items of ``dataset``, put together by ``collate``.

    Args:
        dataset: the items.
        collate: called with the items and, if there is a slot, with ``out``, the memory for their clips, uint8 [bytes].
        size: bytes of the clips of the largest batch.

    Attributes:
        slots: None if batches are made in this process. A batch without a slot is sent like any tensor of torch.
    """

    def __init__(self, dataset: Any, collate: Callable[..., Batch | NoClip], size: int) -> None:
        self._dataset, self._collate, self._size = dataset, collate, size
        self.slots: Slots | None = None

    @property
    def excluded(self) -> dict[int, str]:
        """The ``excluded`` videos of the wrapped data set."""
        return self._dataset.excluded  # type: ignore[no-any-return]

    def make_slots(self, batches: int) -> None:
        """Make new slots for ``batches``, if the system has room, for workers that start from now on."""
        self.slots = None
        with contextlib.suppress(OSError):
            self.slots = Slots(batches, self._size) if slots_exist() else None

    def __getitem__(self, request: BatchRequest) -> Batch | SlotBatch | NoClip:
        self._dataset.excluded.update(request.excluded)
        items = [self._dataset[key] for key in request.keys]
        if self.slots is None or request.slot is None:
            return self._collate(items)
        batch = self._collate(items, out=self.slots.memory(request.slot))
        return SlotBatch(batch, self.slots, request.slot) if isinstance(batch, Batch) else batch


class RequestSampler(Sampler[BatchRequest]):
    """The batches of ``plan`` as requests, each with a slot of ``batches`` if one is free.

    The loader sets ``plan`` before each iteration.
    """

    def __init__(self, batches: BatchDataset) -> None:
        self.plan: Iterable[Sequence[Any]] = ()
        self._batches = batches

    def __iter__(self) -> Iterator[BatchRequest]:
        for keys in self.plan:
            slots = self._batches.slots
            yield BatchRequest(keys, None if slots is None else slots.take(), dict(self._batches.excluded))
