"""Steps of different sizes: how many an epoch has, where they start, and which clips they get."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videopool.data.clip_times import draw_clip
from videopool.data.loading.dataset import TrainClips
from videopool.data.loading.loader import TrainLoader
from videopool.data.order import uniform_order
from videopool.data.sampling import ClipSampling, random_stride
from videopool.data.steps import Stage, Steps, StepSize
from videopool.errors import InputError
from videopool.types import VideoRecord

SAMPLING = ClipSampling(frames=4, stride=2, scale=(40, 48), crop=32, test_scale=40, test_crop=32)
CYCLE = (StepSize(4, 2, 2), StepSize(2, 1, 1), StepSize())
STAGES = (Stage(2, (StepSize(8, 1, 3),)), Stage(1, CYCLE), Stage(3))

small = st.integers(1, 5)
sizes = st.builds(StepSize, times=small)
stages = st.lists(st.builds(Stage, small, st.lists(sizes, min_size=1, max_size=3).map(tuple)), min_size=1, max_size=4)


def listed(clips: int, batch: int, stages: list[Stage]) -> list[list[StepSize]]:
    """Return the sizes of the steps of every epoch, found one by one."""
    epochs = []
    for stage in stages:
        for _ in range(stage.epochs):
            steps: list[StepSize] = []
            while True:
                size = stage.cycle[len(steps) % len(stage.cycle)]
                if steps and batch * sum(step.times for step in [*steps, size]) > clips:
                    break
                steps.append(size)
            epochs.append(steps)
    return epochs


@given(st.integers(1, 60), small, stages)
def test_steps_agree_with_a_list_of_all_of_them(clips: int, batch: int, stages: list[Stage]) -> None:
    steps, epochs = Steps(clips=clips, batch=batch, stages=stages), listed(clips, batch, stages)
    number = 0
    for epoch, expected in enumerate(epochs):
        assert steps.first(epoch) == number
        assert steps.count(epoch) == len(expected)
        ends = np.cumsum([batch * size.times for size in expected])
        np.testing.assert_array_equal(steps.ends(epoch), ends)
        for inside, size in enumerate(expected):
            assert steps.position(number) == (epoch, inside)
            assert steps.size(number) == size
            number += 1
    assert steps.first(len(epochs)) == number
    assert steps.count(len(epochs) + 5) == len(epochs[-1])  # the last stage continues
    assert steps.most_clips == max(batch * sum(size.times for size in epoch) for epoch in epochs)
    progress = [steps.progress(step, len(epochs)) for step in range(number)]
    assert progress[0] == 0
    assert all(later - earlier > 0 for earlier, later in zip(progress, [*progress[1:], 1.0], strict=True))


def test_progress_of_equal_steps_is_exact() -> None:
    steps = Steps(clips=21, batch=3)
    assert steps.uniform
    assert [steps.progress(step, 9) for step in range(63)] == [step / 63 for step in range(63)]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, write_video) -> list[VideoRecord]:
    root = tmp_path_factory.mktemp("videos")
    paths = [write_video(root / f"{number}.mp4", 20, size=(64, 48)) for number in range(17)]
    return [VideoRecord(path.name, path, number % 3) for number, path in enumerate(paths)]


def loader_of(records: list[VideoRecord], **arguments: int) -> TrainLoader:
    smaller = [SAMPLING.smaller(frames=frames, area=area) for frames, area in ((1, 2), (1, 4), (4, 2))]
    dataset = TrainClips(records, SAMPLING, seed=3, smaller=smaller)
    return TrainLoader(dataset, **{"batch": 2, "seed": 3, "stages": STAGES, "epochs": 6, "workers": 0, **arguments})


def same(one: list, other: list) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.clips, b.clips) and torch.equal(a.video, b.video) for a, b in zip(one, other, strict=True)
    )


def test_batches_have_the_shapes_of_their_steps(records: list[VideoRecord]) -> None:
    loader = loader_of(records)
    assert loader.steps_per_epoch == 8
    shapes = [[tuple(batch.clips.shape) for batch in loader.batches(epoch)] for epoch in (1, 2, 3)]
    assert shapes[0] == [(16, 3, 1, 23, 23)]  # round(32 / sqrt(2)) = 23
    assert shapes[1] == [(8, 3, 4, 16, 16), (4, 3, 4, 23, 23), (2, 3, 4, 32, 32)]
    assert shapes[2] == [(2, 3, 4, 32, 32)] * 8
    for epoch in range(4):
        seen = torch.cat([batch.video for batch in loader.batches(epoch)])
        expected = uniform_order(videos=17, draws=16, seed=3, epoch=epoch)[: len(seen)]
        np.testing.assert_array_equal(seen.numpy(), expected)  # no video twice


def test_steps_resume_and_are_shared(records: list[VideoRecord]) -> None:
    loader = loader_of(records)
    whole = list(loader.batches(2))
    for start in range(4):
        assert same(list(loader.batches(2, start=start)), whole[start:])
    with pytest.raises(ValueError, match="start=4 must be from 0 to 3, the steps of epoch 2"):
        loader.batches(2, start=4)
    shares = [list(loader_of(records, rank=rank, world=2).batches(2)) for rank in range(2)]
    together = [torch.cat([share[step].clips for share in shares]) for step in range(3)]
    assert all(map(torch.equal, together, [batch.clips for batch in whole]))
    parts = list(loader_of(records, passes=2).batches(2))
    assert all(
        torch.equal(torch.cat([a.clips, b.clips]), c.clips)
        for a, b, c in zip(parts[::2], parts[1::2], whole, strict=True)
    )


@pytest.mark.slow
def test_workers_and_slots_give_the_same_batches(records: list[VideoRecord]) -> None:
    alone = loader_of(records)
    with contextlib.closing(loader_of(records, workers=2)) as loader:
        for epoch in (1, 2, 3, 4):
            for batch, expected in zip(loader.batches(epoch), alone.batches(epoch), strict=True):
                assert torch.equal(batch.clips, expected.clips)
                assert not batch.clips.is_shared()  # it is in a slot
        slots = loader._loader.dataset.slots  # type: ignore[attr-defined]
        # 16 clips of 1 frame of 23 x 23 pixels, or 2 of 4 x 32 x 32
        assert slots._bytes == max(-(-3 * 16 * 23 * 23 // 4096), 3 * 2 * 4 * 32 * 32 // 4096) * 4096


def test_smaller_clips_show_a_part_of_a_full_clip_up_to_all_of_it() -> None:
    full = ClipSampling(frames=32, stride=2, scale=(256, 320), crop=224, test_scale=256, test_crop=256)
    smaller = full.smaller(frames=4, area=2)
    assert (smaller.frames, smaller.crop) == (8, 158)
    assert smaller.scale == (181, 320)  # 256 * 158 / 224 = 180.6
    rng = np.random.default_rng(0)
    strides = [random_stride(smaller, rng).stride for _ in range(4000)]
    assert set(strides) == set(range(2, 9))
    # Seven strides, each with probability 1/7: the count has a standard deviation of sqrt(4000 * 6) / 7 = 22.
    assert np.abs(np.bincount(strides)[2:] - 4000 / 7).max() < 5 * 22.2
    assert random_stride(full, rng) is full
    times = draw_clip(duration=10.0, fps=25, sampling=random_stride(smaller, rng), rng=rng)
    assert len(times) == 8
    assert times[-1] - times[0] <= (32 - 1) * 2 / 25


def test_dense_clips_and_segments_keep_their_span() -> None:
    for method, window in (("dense", 2.0), ("segments", 0.0)):
        full = ClipSampling(
            frames=8, stride=1, method=method, window=window, scale=(40, 48), crop=32, test_scale=40, test_crop=32
        )
        smaller = full.smaller(frames=2, area=1)
        assert (smaller.frames, smaller.window, smaller.most_stride, smaller.scale) == (4, window, 0, (40, 48))


def test_frames_that_cannot_be_divided() -> None:
    odd = ClipSampling(frames=13, stride=6, scale=(182, 228), crop=160, test_scale=182, test_crop=160)
    with pytest.raises(InputError, match="frames=13 must be a multiple of 4"):
        odd.smaller(frames=4, area=2)


def test_shape_of_a_data_set() -> None:
    smaller = [SAMPLING.smaller(frames=2, area=4)]
    dataset = TrainClips([VideoRecord("a", Path("a"), 0)], SAMPLING, seed=0, smaller=smaller)
    assert [dataset.shape(number) for number in (0, 1)] == [(3, 4, 32, 32), (3, 2, 16, 16)]
