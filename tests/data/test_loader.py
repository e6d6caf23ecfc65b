"""The same batches for any number of workers, processes and restarts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from videopool.data.loading.dataset import TestVideos, TrainClips
from videopool.data.loading.loader import TestLoader, TrainLoader
from videopool.data.sampling import ClipSampling
from videopool.errors import InputError
from videopool.types import Batch, VideoRecord

SAMPLING = ClipSampling(frames=3, stride=1, scale=(32, 40), crop=24, test_scale=32, test_crop=32)


@pytest.fixture(scope="module")
def records(tmp_path_factory, write_video) -> list[VideoRecord]:
    """Nine videos; number 4 is bad."""
    root = tmp_path_factory.mktemp("videos")
    paths = [write_video(root / f"{number}.mp4", 4 + number, size=(48, 48)) for number in range(9)]
    paths[4].write_text("no video")
    return [VideoRecord(path.name, path, number % 3) for number, path in enumerate(paths)]


def same(first: Batch, second: Batch) -> bool:
    columns = ("clips", "labels", "video", "view", "substituted")
    return first.bad == second.bad and all(torch.equal(getattr(first, c), getattr(second, c)) for c in columns)


# --- training ------------------------------------------------------------------------------------------------------


def test_training_batches(records):
    loader = TrainLoader(TrainClips(records, SAMPLING, seed=3), batch=4, seed=3, workers=0)
    assert loader.steps_per_epoch == 2
    batches = [list(loader.batches(epoch)) for epoch in range(3)]
    for epoch in batches:
        assert len(epoch) == 2
        for batch in epoch:
            assert batch.clips.shape == (4, 3, 3, 24, 24)
            assert batch.clips.dtype == torch.uint8
            assert batch.labels.tolist() == [records[video].label for video in batch.video.tolist()]
            assert batch.view.tolist() == [0] * 4
            assert 4 not in batch.video.tolist()
            assert int(batch.substituted.sum()) == len({bad.video for bad in batch.bad})
    bad = [bad for epoch in batches for batch in epoch for bad in batch.bad]
    assert bad
    assert {item.path for item in bad} == {str(records[4].path)}


@pytest.mark.slow
def test_workers_and_epochs_do_not_change_the_batches(records):
    dataset = TrainClips(records, SAMPLING, seed=1)
    expected = {epoch: list(TrainLoader(dataset, batch=2, seed=1, workers=0).batches(epoch)) for epoch in (0, 1)}
    for workers in (1, 2):
        loader = TrainLoader(dataset, batch=2, seed=1, workers=workers)
        for epoch in (1, 0):  # in any order, by the same workers
            batches = list(loader.batches(epoch))
            assert len(batches) == loader.steps_per_epoch == 4
            assert all(map(same, batches, expected[epoch]))
        resumed = loader.batches(1, start=3)
        assert same(next(resumed), expected[1][3])
        left = loader.batches(0)
        next(left)  # left in the middle
        assert same(next(loader.batches(1, start=1)), expected[1][1])
        loader.close()
        assert same(next(loader.batches(0)), expected[0][0])  # starts again
        loader.close()


def test_two_processes_together_load_what_one_loads(records):
    dataset = TrainClips(records, SAMPLING, seed=1)
    alone = list(TrainLoader(dataset, batch=4, seed=1, workers=0).batches(2))
    shares = [
        list(TrainLoader(dataset, batch=4, seed=1, rank=rank, world=2, workers=0).batches(2)) for rank in range(2)
    ]
    for step, whole in enumerate(alone):
        parts = [share[step] for share in shares]
        assert torch.equal(torch.cat([part.clips for part in parts]), whole.clips)
        assert torch.equal(torch.cat([part.video for part in parts]), whole.video)


@pytest.mark.parametrize("workers", [0, 1])
def test_passes_divide_the_clips_of_a_step(records, workers):
    dataset = TrainClips(records, SAMPLING, seed=1)
    whole = TrainLoader(dataset, batch=4, seed=1, workers=0)
    divided = TrainLoader(dataset, batch=4, seed=1, workers=workers, passes=2)
    assert divided.steps_per_epoch == whole.steps_per_epoch
    with contextlib.closing(divided):
        parts = [
            *divided.batches(1),
            *divided.batches(2, start=1),
        ]  # 1: resumed
    wholes = [*whole.batches(1), *whole.batches(2, start=1)]
    assert len(parts) == 2 * len(wholes)
    for step, expected in enumerate(wholes):
        pair = parts[2 * step : 2 * step + 2]
        assert torch.equal(torch.cat([part.clips for part in pair]), expected.clips)
        assert torch.equal(torch.cat([part.video for part in pair]), expected.video)


def test_a_batch_that_cannot_be_divided(records):
    with pytest.raises(InputError, match="batch=6 must be a multiple of world=2 x passes=2"):
        TrainLoader(TrainClips(records, SAMPLING, seed=1), batch=6, seed=1, world=2, passes=2)


@pytest.mark.parametrize("start", [0, 1, 3, 4])
def test_an_epoch_can_begin_in_the_middle(records, start):
    loader = TrainLoader(TrainClips(records, SAMPLING, seed=0), batch=2, seed=0, workers=0)
    whole, rest = list(loader.batches(5)), list(loader.batches(5, start=start))
    assert len(rest) == 4 - start
    assert all(map(same, rest, whole[start:]))


def test_two_epochs_asked_for_at_once(records):
    loader = TrainLoader(TrainClips(records, SAMPLING, seed=0), batch=2, seed=0, workers=0)
    first, second = loader.batches(0), loader.batches(1)
    assert same(next(first), next(loader.batches(0)))
    assert same(next(second), next(loader.batches(1)))


def test_fewer_videos_than_a_batch(records):
    loader = TrainLoader(TrainClips(records[:3], SAMPLING, seed=0), batch=8, seed=0, workers=0)
    assert loader.steps_per_epoch == 1
    (batch,) = loader.batches(0)
    assert sorted(np.bincount(batch.video).tolist()) == [2, 3, 3]
    assert len({clip.numpy().tobytes() for clip in batch.clips}) > 3  # other random numbers each time


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_does_not_use_the_global_generator(records, workers):
    loader = TrainLoader(TrainClips(records, SAMPLING, seed=0), batch=2, seed=0, workers=workers)
    before = torch.get_rng_state()
    for epoch in range(2):
        list(loader.batches(epoch))
    loader.close()
    assert torch.equal(torch.get_rng_state(), before)


def test_steps_outside_of_the_epoch(records):
    loader = TrainLoader(TrainClips(records, SAMPLING, seed=0), batch=2, seed=0, workers=0)
    for start in (-1, 5):
        with pytest.raises(ValueError, match="must be from 0 to 4, the steps of epoch 0"):
            loader.batches(0, start=start)
    with pytest.raises(InputError, match="workers=-1 must be 0 or more"):
        TrainLoader(TrainClips(records, SAMPLING, seed=0), batch=2, seed=0, workers=-1)
    with pytest.raises(InputError, match="batch=0 must be 1 or more"):
        TrainLoader(TrainClips(records, SAMPLING, seed=0), batch=0, seed=0)
    with pytest.raises(ValueError, match="rank=2"):
        TrainLoader(TrainClips(records, SAMPLING, seed=0), batch=1, seed=0, rank=2, world=2)


# --- testing -------------------------------------------------------------------------------------------------------


def views_of(loader: TestLoader) -> list[tuple[int, int]]:
    return [pair for batch in loader for pair in zip(batch.video.tolist(), batch.view.tolist(), strict=True)]


@pytest.mark.parametrize("world", [1, 2, 4, 11])
def test_every_view_once_for_any_number_of_processes(records, world):
    dataset = TestVideos(records, SAMPLING, clips=2, crops=3)
    loaders = [TestLoader(dataset, batch_videos=2, rank=rank, world=world, workers=0) for rank in range(world)]
    views = [pair for loader in loaders for pair in views_of(loader)]
    assert sorted(views) == [(video, view) for video in range(9) if video != 4 for view in range(6)]
    assert [len(loader) for loader in loaders] == [len(list(loader)) for loader in loaders]
    assert [bad.video for loader in loaders for batch in loader for bad in batch.bad] == [4]


def test_test_batches_are_the_same_with_workers(records):
    dataset = TestVideos(records, SAMPLING, clips=2, crops=1)
    here = list(TestLoader(dataset, batch_videos=4, workers=0))
    assert [len(batch) for batch in here] == [8, 6, 2]
    loader = TestLoader(dataset, batch_videos=4, workers=2)
    assert all(map(same, list(loader), here))
    assert all(map(same, list(loader), here))  # a second time, by the same workers
    loader.close()


def test_a_batch_of_bad_videos_is_empty(records):
    (batch,) = TestLoader(TestVideos([records[4]], SAMPLING, clips=2, crops=1), batch_videos=1, workers=0)
    assert batch.clips.shape == (0, 3, 3, 32, 32)
    assert batch.clips.dtype == torch.uint8
    assert len(batch.bad) == 1


# --- workers -------------------------------------------------------------------------------------------------------


def test_an_error_in_a_worker_reaches_the_user(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("no video")
    loader = TrainLoader(TrainClips([VideoRecord("a", path, 0)], SAMPLING, seed=0), batch=1, seed=0, workers=1)
    with pytest.raises(InputError, match="videos in a row could not be decoded"):
        list(loader.batches(0))
    loader.close()


SCRIPT = """
import multiprocessing, sys
print("imported as", __name__)

def main():
    import torch
    from videopool.data.loading.dataset import TrainClips
    from videopool.data.loading.loader import TrainLoader
    from videopool.data.lists.records import read_videos
    from videopool.data.sampling import ClipSampling

    sampling = ClipSampling(frames=3, stride=1, scale=(32, 40), crop=24, test_scale=32, test_crop=32)
    dataset = TrainClips(read_videos(sys.argv[1]).records, sampling, seed=0)
    loader = TrainLoader(dataset, batch=2, seed=0, workers=2)
    print("batches", len(list(loader.batches(0))))
    if sys.argv[2] == "close":
        loader.close()
        assert not multiprocessing.active_children()

if __name__ == "__main__":
    main()
"""


def run_script(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess:
    script = folder / "script.py"
    script.write_text(text)
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["close", "leave"])
def test_workers_start_from_a_script_and_end_with_it(tmp_path, write_video, ending):
    for name in ("a/1.mp4", "a/2.mp4", "b/3.mp4", "b/4.mp4"):
        write_video(tmp_path / "videos" / name, 5)
    done = run_script(tmp_path, SCRIPT, str(tmp_path / "videos"), ending)
    assert done.returncode == 0, done.stderr
    assert "batches 2" in done.stdout
    assert "Traceback" not in done.stderr
