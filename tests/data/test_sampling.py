"""Where clips and crops lie, on whole ranges of videos."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videopool.data.sampling import (
    ClipSampling,
    random_clip,
    random_crop,
    random_short_side,
    uniform_clips,
    uniform_crops,
)
from videopool.errors import InputError

SAMPLING = ClipSampling(frames=4, stride=2, scale=(64, 80), crop=56, test_scale=64, test_crop=64)
RATES = st.sampled_from([10.0, 24.0, 25.0, 30000 / 1001, 30.0, 59.94])


@st.composite
def videos(draw) -> tuple[float, float, int]:
    """(duration, fps, frames)"""
    fps, frames = draw(RATES), draw(st.integers(1, 400))
    return frames / fps, fps, frames


def clip_of(frames: int, stride: int, fps: float = 0.0) -> ClipSampling:
    return dataclasses.replace(SAMPLING, frames=frames, stride=stride, fps=fps)


samplings = st.builds(clip_of, st.integers(1, 32), st.integers(1, 8), st.sampled_from([0.0, 0.0, 8.0, 25.0, 60.0]))


@given(videos(), samplings, st.integers(0, 2**32))
def test_random_clip_invariants(video, sampling, seed):
    duration, fps, frames = video
    times = random_clip(duration=duration, fps=fps, sampling=sampling, rng=np.random.default_rng(seed))
    assert times.shape == (sampling.frames,)
    assert times.dtype == np.float64
    check_clip(times, duration, fps, frames, sampling)


@given(videos(), samplings, st.integers(1, 10))
def test_uniform_clips_invariants(video, sampling, clips):
    duration, fps, frames = video
    times = uniform_clips(duration=duration, fps=fps, sampling=sampling, clips=clips)
    assert times.shape == (clips, sampling.frames)
    for clip in times:
        check_clip(clip, duration, fps, frames, sampling)
    assert (np.diff(times[:, 0]) >= 0).all()


def check_clip(times: np.ndarray, duration: float, fps: float, frames: int, sampling: ClipSampling) -> None:
    period = sampling.stride / (sampling.fps or fps)
    assert times[0] > 0
    assert times[-1] < duration
    assert (np.diff(times) >= 0).all()
    np.testing.assert_allclose(times * fps % 1, 0.5, atol=1e-5)  # the middle of a frame
    held = times[-1] > duration - 1 / fps
    steps = np.diff(times)[: np.searchsorted(times, times[-1])]
    tolerance = 1e-9 if sampling.fps == 0 else (1 + 1e-6) / fps
    inner = steps[:-1] if held else steps
    assert (np.abs(inner - period) <= tolerance).all()
    if (sampling.frames - 1) * period > duration:  # too short: from the first frame, holding the last one
        assert times[0] == pytest.approx(0.5 / fps)
        assert times[-1] == pytest.approx((frames - 0.5) / fps)


def test_random_clip_starts_at_every_frame_that_fits_equally_often():
    rng = np.random.default_rng(0)
    starts = [random_clip(duration=1.2, fps=10.0, sampling=SAMPLING, rng=rng)[0] for _ in range(6000)]
    frames, counts = np.unique(np.round(np.array(starts) * 10 - 0.5).astype(int), return_counts=True)
    assert frames.tolist() == [0, 1, 2, 3, 4, 5]  # 12 frames, a span of 7
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5  # chi squared, 5 degrees of freedom, p = 0.001


def test_the_clip_of_the_drawing():
    times = uniform_clips(duration=1.0, fps=10.0, sampling=SAMPLING, clips=2)
    np.testing.assert_allclose(times, [[0.05, 0.25, 0.45, 0.65], [0.35, 0.55, 0.75, 0.95]])
    np.testing.assert_allclose(
        uniform_clips(duration=1.0, fps=10.0, sampling=SAMPLING, clips=1), [[0.15, 0.35, 0.55, 0.75]]
    )


def test_another_rate_takes_the_frame_on_display():
    twice = clip_of(4, 1, fps=20.0)
    times = uniform_clips(duration=1.0, fps=10.0, sampling=twice, clips=2)[0]
    np.testing.assert_allclose(times, [0.05, 0.15, 0.15, 0.25])
    half = clip_of(3, 1, fps=5.0)
    times = uniform_clips(duration=1.0, fps=10.0, sampling=half, clips=2)
    np.testing.assert_allclose(times, [[0.05, 0.25, 0.45], [0.55, 0.75, 0.95]])


@given(videos(), samplings, st.floats(0, 1), st.floats(0.001, 1), st.integers(0, 100))
def test_a_span_bounds_the_clip(video, sampling, where, length, seed):
    duration, fps, _ = video
    start = where * duration * 0.999
    end = start + length * duration
    rng = np.random.default_rng(seed)
    try:
        times = random_clip(duration=duration, fps=fps, sampling=sampling, rng=rng, start=start, end=end)
    except ValueError:
        assert start > duration - 1 / fps - 1e-6  # within the last frame: none begins in the span
        return
    begins = times - 0.5 / fps
    assert begins.min() >= start - 1e-5 / fps
    assert begins.max() < max(end, begins.min() + 0.5 / fps)
    clips = uniform_clips(duration=duration, fps=fps, sampling=sampling, clips=3, start=start, end=end)
    assert clips.min() >= start


def test_a_span_after_the_end():
    with pytest.raises(ValueError, match="the span starts at 3 s, but the video ends at 2 s"):
        uniform_clips(duration=2.0, fps=10.0, sampling=SAMPLING, clips=1, start=3.0)


@given(st.integers(8, 90), st.integers(8, 90), st.integers(1, 8), st.integers(0, 1000), st.sampled_from([1, 3]))
def test_crops_lie_inside(height, width, size, seed, crops):
    drawn = random_crop(height=height, width=width, size=size, flip=False, rng=np.random.default_rng(seed))
    planned = uniform_crops(height=height, width=width, size=size, crops=crops)
    assert len(planned) == crops
    assert not drawn.flip
    for crop in (drawn, *planned):
        assert crop.size == size
        assert 0 <= crop.top <= height - size
        assert 0 <= crop.left <= width - size


def test_three_crops_run_along_the_longer_side():
    assert [(crop.top, crop.left) for crop in uniform_crops(height=64, width=100, size=64, crops=3)] == [
        (0, 0),
        (0, 18),
        (0, 36),
    ]
    assert [(crop.top, crop.left) for crop in uniform_crops(height=90, width=70, size=60, crops=3)] == [
        (0, 5),
        (15, 5),
        (30, 5),
    ]
    with pytest.raises(InputError, match=r"evaluate\.crops=2"):
        uniform_crops(height=64, width=64, size=64, crops=2)
    with pytest.raises(ValueError, match="does not fit"):
        uniform_crops(height=64, width=63, size=64, crops=1)


def test_draws_reach_both_ends_and_the_mirror():
    rng = np.random.default_rng(1)
    assert {random_short_side(scale=(5, 8), rng=rng) for _ in range(200)} == {5, 6, 7, 8}
    crops = [random_crop(height=4, width=3, size=2, flip=True, rng=rng) for _ in range(400)]
    assert {crop.top for crop in crops} == {0, 1, 2}
    assert {crop.left for crop in crops} == {0, 1}
    assert 150 < sum(crop.flip for crop in crops) < 250


def test_flip_setting_leaves_other_draws_alone():
    with_flip = random_crop(height=90, width=90, size=9, flip=True, rng=np.random.default_rng(5))
    without = random_crop(height=90, width=90, size=9, flip=False, rng=np.random.default_rng(5))
    assert (with_flip.top, with_flip.left) == (without.top, without.left)


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 0},
        {"stride": 0},
        {"fps": -1.0},
        {"fps": float("nan")},
        {"scale": (80, 64)},
        {"crop": 65},
        {"crop": 0},
        {"test_crop": 65},
    ],
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(InputError):
        dataclasses.replace(SAMPLING, **change)
