"""Whole batches as a data set: what a loader process makes, and where it puts them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset, Sampler

from videopool.data.loading.dataset import NoClip
from videopool.data.loading.slots import Sent, Slots, slots_exist
from videopool.types import Batch


@dataclasses.dataclass(frozen=True)
class Share:
    """What a batch is made of: keys of the data set, and the slot for its clips, if one was free.

    ``lethal``: videos that have been found since the processes started which must not be opened, and why.
    """

    keys: Sequence[Any]
    slot: int | None
    lethal: Mapping[int, str]


class WholeBatches(Dataset[Batch | Sent | NoClip]):
    """The batch of each ``Share``: items of ``dataset``, put together by ``collate``.

    Args:
        dataset: the items.
        collate: called with them, and with ``out``, memory for their clips, where there is a slot.
        shape: [B,C,T,H,W] of the largest batch.

    Attributes:
        slots: while there are other processes to make batches. One that has no slot goes as torch sends tensors.
    """

    def __init__(self, dataset: Any, collate: Callable[..., Batch | NoClip], shape: tuple[int, ...]) -> None:
        self._dataset, self._collate, self._shape = dataset, collate, shape
        self.slots: Slots | None = None

    @property
    def lethal(self) -> dict[int, str]:
        """That of the data set below."""
        return self._dataset.lethal  # type: ignore[no-any-return]

    def make_slots(self, batches: int) -> None:
        """New slots for ``batches`` at a time, if the system has room. Processes that start from now on get them."""
        self.slots = None
        with contextlib.suppress(OSError):
            self.slots = Slots(batches, self._shape) if slots_exist() else None

    def __getitem__(self, share: Share) -> Batch | Sent | NoClip:
        self._dataset.lethal.update(share.lethal)
        items = [self._dataset[key] for key in share.keys]
        if self.slots is None or share.slot is None:
            return self._collate(items)
        batch = self._collate(items, out=self.slots.clips(share.slot))
        return Sent(batch, self.slots, share.slot) if isinstance(batch, Batch) else batch


class Dealt(Sampler[Share]):
    """The batches of ``plan``, each with a slot of ``batches`` while there are free ones."""

    def __init__(self, plan: Iterable[Sequence[Any]], batches: WholeBatches) -> None:
        self._plan, self._batches = plan, batches

    def __iter__(self) -> Iterator[Share]:
        for keys in self._plan:
            slots = self._batches.slots
            yield Share(keys, None if slots is None else slots.take(), dict(self._batches.lethal))
