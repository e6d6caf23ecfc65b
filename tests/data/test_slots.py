"""Batches in reused memory: nothing is overwritten while it is in use, and no slot is lost."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch

from tests.conftest import file_size_limit
from videopool.data.loading.batches import BatchDataset, RequestSampler
from videopool.data.loading.dataset import TestVideos, TrainClips
from videopool.data.loading.loader import TestLoader, TrainLoader, collate_train
from videopool.data.loading.slots import Slots, slots_exist
from videopool.data.loading.torch_loader import worker_processes
from videopool.data.sampling import ClipSampling
from videopool.types import Batch, VideoRecord

pytestmark = pytest.mark.skipif(not slots_exist(), reason="this system has no files without a name")
SAMPLING = ClipSampling(frames=3, stride=1, scale=(32, 40), crop=24, test_scale=32, test_crop=32)


@pytest.fixture(scope="module")
def records(tmp_path_factory, write_video) -> list[VideoRecord]:
    """Twenty videos; number 4 is bad."""
    root = tmp_path_factory.mktemp("videos")
    paths = [write_video(root / f"{number}.mp4", 5, size=(48, 48)) for number in range(20)]
    paths[4].write_text("no video")
    return [VideoRecord(path.name, path, number % 3) for number, path in enumerate(paths)]


def same(first: Batch, second: Batch) -> bool:
    columns = ("clips", "labels", "video", "view", "substituted")
    return first.bad == second.bad and all(torch.equal(getattr(first, c), getattr(second, c)) for c in columns)


def slots_of(loader: TrainLoader) -> Slots:
    return loader._loader.dataset.slots  # type: ignore[attr-defined]


def train_loader(records: list[VideoRecord], workers: int) -> TrainLoader:
    return TrainLoader(TrainClips(records, SAMPLING, seed=1), batch=1, seed=1, workers=workers)


def in_a_slot(batch: Batch) -> bool:
    return not batch.clips.is_shared()  # torch sends batches in its own shared memory


# --- slots by themselves -------------------------------------------------------------------------------------------


def test_a_slot_is_free_once_none_of_its_clips_is_in_use():
    slots = Slots(2, 4 * 3 * 2 * 5 * 5)
    first, second = slots.take(), slots.take()
    assert (first, second, slots.take()) == (0, 1, None)
    clips = slots.taken_clips(1, (3, 3, 2, 5, 5))
    assert clips.shape == (3, 3, 2, 5, 5)
    clips[:] = 7
    row = clips[2, 0]
    del clips
    gc.collect()
    assert slots.take() is None
    assert row.unique().tolist() == [7]
    del row
    assert slots.take() == 1


def test_slots_do_not_overlap_and_outlive_their_owner():
    slots, shape = Slots(3, 3 * 61 * 67), (1, 3, 1, 61, 67)  # not a multiple of a page
    held = [slots.taken_clips(slots.take(), shape).fill_(value) for value in (1, 2, 3)]
    del slots
    gc.collect()
    assert [clips.unique().tolist() for clips in held] == [[1], [2], [3]]


def test_memory_of_free_slots_is_returned_to_the_system():
    shape = (1, 3, 16, 128, 128)
    slots = Slots(3, 3 * 16 * 128 * 128)
    kept = slots.taken_clips(slots.take(), shape).fill_(5)
    slots.taken_clips(slots.take(), shape).fill_(6)

    def blocks() -> int:
        return os.fstat(slots._file).st_blocks * 512

    assert blocks() >= 2 * kept.numel()  # the third was never written to
    assert blocks() < 3 * kept.numel()
    slots.release()
    assert kept.numel() <= blocks() < 2 * kept.numel()
    assert kept.unique().tolist() == [5]


def test_there_are_no_slots_without_room(records):
    batches = BatchDataset(TrainClips(records, SAMPLING, seed=1), collate_train, 4 * 3 * 3 * 24 * 24)
    batches.make_slots(2)
    assert batches.slots is not None
    with file_size_limit(1000):
        batches.make_slots(2)
    assert batches.slots is None
    requests = RequestSampler(batches)
    requests.plan = [[(0, 1)], [(0, 2)]]
    assert [request.slot for request in requests] == [None, None]


# --- in loaders ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_batches_that_are_kept_keep_their_pixels(records):
    expected = list(train_loader(records, workers=0).batches(0))
    loader = train_loader(records, workers=2)
    kept = list(loader.batches(0))  # more batches than slots
    assert all(map(same, kept, expected))
    assert len({batch.clips.data_ptr() for batch in kept}) == len(kept)
    assert {in_a_slot(batch) for batch in kept} == {True, False}
    parts = [batch.clips[0, 1] for batch in kept]
    del kept
    assert all(map(same, loader.batches(1), train_loader(records, workers=0).batches(1)))
    assert all(torch.equal(part, batch.clips[0, 1]) for part, batch in zip(parts, expected, strict=True))
    loader.close()
    assert all(torch.equal(part, batch.clips[0, 1]) for part, batch in zip(parts, expected, strict=True))


def in_dev_shm(process: int) -> set[str]:
    """Return the files of torch in /dev/shm that a process has mapped."""
    lines = Path(f"/proc/{process}/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if "/dev/shm/torch" in line}


def test_memory_is_reused_and_not_in_dev_shm(records):
    before = in_dev_shm(os.getpid())  # from the tests of other loaders
    loader = train_loader(records, workers=2)
    addresses, shared = set(), set()
    for epoch in range(3):
        for batch in loader.batches(epoch):
            addresses.add(batch.clips.data_ptr())
            shared.add(batch.clips.is_shared())
    assert len(addresses) <= slots_of(loader)._count < 3 * loader.steps_per_epoch
    assert shared == {False}
    workers = [worker.pid for worker in worker_processes(loader._loader)]
    for process in (os.getpid(), *workers):
        assert "memfd:videopool-batches" in Path(f"/proc/{process}/maps").read_text()
    assert in_dev_shm(os.getpid()) <= before
    assert [in_dev_shm(worker) for worker in workers] == [set(), set()]
    loader.close()


@pytest.mark.slow
def test_abandoned_epochs_lose_no_slot(records):
    loader = train_loader(records, workers=2)
    for epoch in range(12):
        next(loader.batches(epoch))
    assert all(map(in_a_slot, loader.batches(0)))
    loader.close()


def test_views_of_batches_that_are_smaller_for_bad_videos(records):
    dataset = TestVideos(records[:7], SAMPLING, clips=2, crops=1)
    expected = list(TestLoader(dataset, batch_videos=2, workers=0))
    loader = TestLoader(dataset, batch_videos=2, workers=1)
    batches = list(loader)
    loader.close()
    assert [len(batch) for batch in batches] == [4, 4, 2, 2]  # number 4 is bad, and seven is odd
    assert all(map(same, batches, expected))
    assert in_a_slot(batches[0])


def test_workers_continue_into_the_next_epoch(records, tmp_path):
    dataset = TrainClips(records[:4], SAMPLING, seed=0)
    loader = TrainLoader(dataset, batch=2, seed=0, workers=1, epochs=2)
    assert [keys[0][0] for keys in loader._keys(0)] == [0, 0, 1, 1]
    seen = list(loader.batches(0))
    iterator = loader._loader._iterator
    assert iterator._tasks_outstanding + len(iterator._task_info) > 0  # of epoch 1, which nobody has asked for yet
    seen += loader.batches(1)
    assert loader._loader._iterator is iterator
    assert iterator._tasks_outstanding == 0  # there is no epoch 2
    loader.close()
    alone = TrainLoader(dataset, batch=2, seed=0, workers=0)
    assert all(map(same, seen, [*alone.batches(0), *alone.batches(1)]))
    assert all(map(same, alone.batches(7), TrainLoader(dataset, batch=2, seed=0, workers=0, epochs=2).batches(7)))
