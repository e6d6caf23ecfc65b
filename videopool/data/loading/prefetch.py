"""Copy batches to the device that computes, ahead of their use."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch

from videopool.types import Batch

Measure = Callable[[], AbstractContextManager[object]]


def on_device(batches: Iterable[Batch], device: torch.device, *, measure: Measure = nullcontext) -> Iterator[Batch]:
    """Yield ``batches`` with their tensors on ``device``. On a GPU, a second stream copies the next one ahead. ::

        second stream   copy 0 | copy 1          | copy 2          |
        computing              | step 0          | step 1          | step 2 ...

    A copy overlaps with computation only if the batches are in page-locked memory (``pin`` of the loaders). Two batches
    are on the GPU at a time. Use a batch on the stream that is current when you ask for it. An error of ``batches`` is
    raised after the batches before it were yielded. Each copy runs in a context of ``measure``.
    """
    if device.type == "cuda":
        yield from _copied_ahead(iter(batches), device, measure)
    else:
        for batch in batches:
            with measure():
                copied = batch.to(device)
            yield copied


def _copied_ahead(batches: Iterator[Batch], device: torch.device, measure: Measure) -> Iterator[Batch]:
    copying = torch.cuda.Stream(device)
    following = _start_copy(batches, device, copying, measure)
    while following is not None:
        batch = following
        _hand_over(batch, copying, torch.cuda.current_stream(device))
        try:
            following = _start_copy(batches, device, copying, measure)
        finally:  # also before an error of the loader is raised
            yield batch


def _start_copy(
    batches: Iterator[Batch], device: torch.device, copying: torch.cuda.Stream, measure: Measure
) -> Batch | None:
    """Start to copy the next batch to the device and return it; None at the end."""
    batch = next(batches, None)
    if batch is None:
        return None
    with torch.cuda.stream(copying), measure():
        return batch.to(device)


def _hand_over(batch: Batch, copying: torch.cuda.Stream, computing: torch.cuda.Stream) -> None:
    """Let ``computing`` wait for the copy, and keep the memory until its work with the batch is done.

    Otherwise the allocator would reuse the memory for the next copy as soon as Python drops the batch, because the
    stream that allocated it does not know that another one still reads it.
    """
    computing.wait_stream(copying)
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, torch.Tensor):
            value.record_stream(computing)
