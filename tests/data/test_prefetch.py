"""Copying batches ahead, on simulated streams; test_gpu_loading.py tests it on a GPU."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import pytest
import torch

from videopool.data.loading.prefetch import on_device
from videopool.types import BadVideo, Batch

CUDA = torch.device("cuda", 0)


def batch_of(number: int, size: int = 2) -> Batch:
    rows = torch.full((size,), number)
    clips = torch.full((size, 3, 2, 4, 4), number, dtype=torch.uint8)
    return Batch(clips, rows, rows, rows, rows > 0, (BadVideo(number, "a.mp4", "is not a video"),))


# --- streams, simulated --------------------------------------------------------------------------------------------


class Stream:
    """A stream, which works in order. ``knows`` counts the work of every stream that is done before its next work."""

    def __init__(self, device: torch.device | None = None) -> None:
        self.knows: dict[Stream, int] = {}

    def work(self) -> tuple[Stream, int]:
        self.knows[self] = self.knows.get(self, 0) + 1
        return self, self.knows[self]

    def wait_stream(self, other: Stream) -> None:
        for stream, count in other.knows.items():
            self.knows[stream] = max(count, self.knows.get(stream, 0))

    def comes_after(self, work: tuple[Stream, int]) -> bool:
        stream, count = work
        return self.knows.get(stream, 0) >= count


class Card:
    """Replaces torch.cuda; records the current stream, and what happened to each batch."""

    def __init__(self) -> None:
        self.computing = self.current = Stream()
        self.copied: dict[int, tuple[Stream, int]] = {}
        self.read: dict[int, tuple[Stream, int]] = {}
        self.held: dict[int, list[Stream]] = {}

    @contextlib.contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before

    def current_stream(self, device: torch.device) -> Stream:
        return self.current

    def copy(self, batch: Batch, device: torch.device) -> Batch:
        assert device == CUDA
        number = int(batch.labels[0])
        self.copied[number] = self.current.work()

        class OnCard(torch.Tensor):
            def record_stream(tensor, stream: Stream) -> None:  # noqa: N805
                self.held.setdefault(number, []).append(stream)

        tensors = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
        moved = {k: v.as_subclass(OnCard) for k, v in tensors.items() if isinstance(v, torch.Tensor)}
        return dataclasses.replace(batch, **moved)

    def compute(self, batch: Batch) -> None:
        """Work of the caller that reads the batch."""
        number = int(batch.labels[0])
        assert self.computing.comes_after(self.copied[number]), "the copy is read before it is there"
        assert self.held[number] == [self.computing] * 5, "memory may be reused while it is read"
        self.read[number] = self.computing.work()


@pytest.fixture
def card(monkeypatch) -> Card:
    card = Card()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", card.stream)
    monkeypatch.setattr(torch.cuda, "current_stream", card.current_stream)
    monkeypatch.setattr(Batch, "to", lambda batch, device: card.copy(batch, device))
    return card


def test_every_batch_is_copied_before_it_is_read(card):
    numbers = []
    for batch in on_device([batch_of(number) for number in range(5)], CUDA):
        card.compute(batch)
        numbers.append(int(batch.labels[0]))
        assert batch.bad[0].video == numbers[-1]
    assert numbers == [0, 1, 2, 3, 4]


def test_the_next_copy_overlaps_with_the_step(card):
    for batch in on_device((batch_of(number) for number in range(4)), CUDA):
        number = int(batch.labels[0])
        assert list(card.copied) == list(range(min(number + 2, 4)))  # one ahead, and no more
        card.compute(batch)
        if number:
            copying, _ = card.copied[number]
            assert copying is not card.computing
            assert not copying.comes_after(card.read[number - 1])  # no copy waits for a step


def test_an_error_is_raised_after_the_batches_before_it(card):
    def failing() -> Iterator[Batch]:
        yield batch_of(0)
        yield batch_of(1)
        raise OSError("disk")

    ahead = on_device(failing(), CUDA)
    assert [int(next(ahead).labels[0]) for _ in range(2)] == [0, 1]
    with pytest.raises(OSError, match="disk"):
        next(ahead)


def test_left_in_the_middle_and_without_batches(card):
    ahead = on_device(iter([batch_of(0), batch_of(1), batch_of(2)]), CUDA)
    next(ahead)
    ahead.close()
    assert list(card.copied) == [0, 1]
    assert list(on_device([], CUDA)) == []


# --- without a GPU ----------------------------------------------------------------------------------------


def test_on_the_cpu_nothing_is_loaded_ahead():
    made = []

    def batches() -> Iterator[Batch]:
        for number in range(3):
            made.append(batch_of(number))
            yield made[-1]

    for number, batch in enumerate(on_device(batches(), torch.device("cpu"))):
        assert len(made) == number + 1
        assert batch.clips.data_ptr() == made[number].clips.data_ptr()
        assert batch.bad == made[number].bad
