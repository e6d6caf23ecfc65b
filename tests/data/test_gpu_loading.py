"""Loading and augmenting with a GPU gives the same batches as without. Needs torch, numpy and pytest only."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.patchwork import some_clips
from tests.data.test_prefetch import batch_of
from videopool.data.augment import Augmentation, AugMix, ColorJitter, Erase, Mix, RandAugment
from videopool.data.loading.dataset import TrainClips
from videopool.data.loading.loader import TrainLoader
from videopool.data.loading.prefetch import on_device
from videopool.data.sampling import ClipSampling
from videopool.data.transforms import Normalize
from videopool.types import Batch, VideoRecord

SAMPLING = ClipSampling(frames=4, stride=1, scale=(32, 32), crop=32, test_scale=32, test_crop=32)


class MadeClips(TrainClips):
    """Clips without videos; the pixels are made from the record and the random numbers of the clip."""

    def _decode(self, record: VideoRecord, shape: int, rng: Any) -> torch.Tensor:
        return torch.from_numpy(rng.integers(0, 256, size=(3, 4, 32, 32), dtype="uint8")) // 2 + record.label


RECORDS = [VideoRecord(str(number), Path(f"{number}.mp4"), number) for number in range(24)]


def same(first: Batch, second: Batch) -> bool:
    columns = ("clips", "labels", "video", "view", "substituted")
    return all(torch.equal(getattr(first, c), getattr(second, c)) for c in columns)


def made_loader(workers: int, pin: bool = False) -> TrainLoader:
    return TrainLoader(MadeClips(RECORDS, SAMPLING, seed=0), batch=4, seed=0, workers=workers, pin=pin, epochs=2)


def test_made_clips_through_workers_on_the_cpu():
    loader = made_loader(workers=1)
    batches = list(on_device(loader.batches(0), torch.device("cpu")))
    loader.close()
    assert all(map(same, batches, made_loader(workers=0).batches(0)))


@pytest.fixture
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        if os.environ.get("VIDEOPOOL_REQUIRE_CUDA") == "1":
            pytest.fail("VIDEOPOOL_REQUIRE_CUDA=1, but torch sees no GPU")
        pytest.skip("runs on a machine with a GPU")
    return torch.device("cuda", 0)


def test_batches_on_a_gpu_equal_those_loaded(gpu):
    """Steps take longer than copies, and memory is reused at once, so a missing wait would give wrong sums."""
    size, sums, slow = 64, [], torch.randn(4096, 4096, device=gpu)
    for batch in on_device((batch_of(number, size).pin_memory() for number in range(50)), gpu):
        assert batch.clips.device == gpu
        slow = slow @ slow / slow.norm()
        sums.append(batch.clips.sum(dtype=torch.int64) + batch.labels.sum())
        del batch
    cells = size * 3 * 2 * 4 * 4
    assert torch.stack(sums).tolist() == [number * (cells + size) for number in range(50)]
    assert torch.isfinite(slow).all()


def test_workers_page_locked_memory_and_copies_ahead(gpu):
    """Slots are reused as soon as their batch has been copied to page-locked memory."""
    expected = [batch for epoch in range(2) for batch in made_loader(workers=0).batches(epoch)]
    loader = made_loader(workers=2, pin=True)
    pinned = list(loader.batches(0))
    assert all(batch.clips.is_pinned() and batch.labels.is_pinned() for batch in pinned)
    assert all(map(same, pinned, expected))
    found, slow = [], torch.randn(2048, 2048, device=gpu)
    for batch in on_device(loader.batches(1), gpu):
        slow = slow @ slow / slow.norm()
        found.append(batch.to(torch.device("cpu")))
    loader.close()
    torch.cuda.synchronize()
    assert all(map(same, found, expected[len(pinned) :]))


@pytest.mark.parametrize("part", ["color", "rand_augment", "augmix", "erase", "mixup", "cutmix", "all"])
def test_augmentation_equals_that_of_the_cpu(gpu, part):
    whole = Augmentation(
        classes=5,
        color=ColorJitter(0.4, 0.4, 0.4, 0.1),
        rand_augment=RandAugment(2, 9.0, 0.5),
        augmix=AugMix(),
        erase=Erase(0.5),
        mix=Mix(mixup=0.8, cutmix=1.0),
    )
    off = dict.fromkeys(("color", "rand_augment", "augmix", "erase", "mix"))
    kept = {part: getattr(whole, part)} if part in off else {"mix": Mix(**{part: 1.0})} if part != "all" else {}
    parts = off | kept if kept else {}
    augment = dataclasses.replace(whole, **parts)
    numbers = torch.arange(8)
    batch = Batch(some_clips(8), numbers % 5, numbers, numbers * 0, numbers < 0)
    for seed in range(4):
        here, there = augment(batch, seed), augment(batch.to(gpu), seed)
        assert there.clips.device == gpu
        difference = (here.clips.int() - there.clips.cpu().int()).abs()
        assert difference.float().mean() < 0.02  # levels: sums of floats are rounded in another order
        if part in ("erase", "cutmix"):
            assert difference.max() == 0
        if here.targets is not None:
            torch.testing.assert_close(there.targets.cpu(), here.targets)


def test_normalize_equals_that_of_the_cpu(gpu):
    clips, normalize = some_clips(4), Normalize((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
    torch.testing.assert_close(normalize(clips.to(gpu)).cpu(), Normalize((0.45,) * 3, (0.225,) * 3)(clips))
