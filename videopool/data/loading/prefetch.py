"""Batches on the device that computes, copied there while the batch before is worked on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import torch

from videopool.types import Batch


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """``batches`` with their tensors on ``device``. To a GPU, a stream of its own copies the next one ahead. ::

        side stream     copy 0 | copy 1          | copy 2          |
        computing              | step 0          | step 1          | step 2 ...

    A copy overlaps with computing only if the batches are in page-locked memory (``pin`` of the loaders). Two batches
    are on the GPU at a time. What the caller does with a batch belongs on the stream that is current when it asks for
    it. An error of ``batches`` is raised after the batches before it were given.
    """
    if device.type == "cuda":
        yield from _copied_ahead(iter(batches), device)
    else:
        for batch in batches:
            yield batch.to(device)


def _copied_ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    copying = torch.cuda.Stream(device)
    following = _begin_copy(batches, device, copying)
    while following is not None:
        batch = following
        _hand_over(batch, copying, torch.cuda.current_stream(device))
        try:
            following = _begin_copy(batches, device, copying)
        finally:  # also before an error of the loader goes on its way
            yield batch


def _begin_copy(batches: Iterator[Batch], device: torch.device, copying: torch.cuda.Stream) -> Batch | None:
    """The next batch, on its way to the device; None at the end."""
    batch = next(batches, None)
    if batch is None:
        return None
    with torch.cuda.stream(copying):
        return batch.to(device)


def _hand_over(batch: Batch, copying: torch.cuda.Stream, computing: torch.cuda.Stream) -> None:
    """What is computed from now on waits for the copy; the memory stays until what was computed with it is done.

    The allocator would otherwise give it to the next copy as soon as Python lets go of the batch: to the stream that it
    was allocated on, nothing says that another one still reads it.
    """
    computing.wait_stream(copying)
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, torch.Tensor):
            value.record_stream(computing)
