"""The frames of a clip for many videos: as frame numbers, and compared with exact fractions."""

from __future__ import annotations

import dataclasses
import functools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videopool.data.clip_times import (
    TooShortError,
    draw_clip,
    place_clips,
    sliding_clips,
)
from videopool.data.sampling import ClipSampling

SAMPLING = ClipSampling(frames=4, stride=2, scale=(64, 80), crop=56, test_scale=64, test_crop=64)
RATES = st.sampled_from([10.0, 24.0, 25.0, 30000 / 1001, 30.0, 59.94])


@st.composite
def videos(draw) -> tuple[float, float, int]:
    """Draw (duration, fps, frames)."""
    fps, frames = draw(RATES), draw(st.integers(1, 400))
    return frames / fps, fps, frames


def clip_of(frames: int, stride: int, fps: float = 0.0) -> ClipSampling:
    return dataclasses.replace(SAMPLING, frames=frames, stride=stride, fps=fps)


def dense(frames: int, window: float) -> ClipSampling:
    return dataclasses.replace(SAMPLING, frames=frames, method="dense", window=window)


def segments(frames: int, short: str = "hold") -> ClipSampling:
    return dataclasses.replace(SAMPLING, frames=frames, method="segments", short=short)


def numbers(times: np.ndarray, fps: float) -> list:
    """Return the numbers of the frames on display; each time must be in the middle of a frame."""
    periods = times * fps
    np.testing.assert_allclose(periods % 1, 0.5, atol=1e-5)
    return np.floor(periods).astype(int).tolist()


samplings = st.builds(clip_of, st.integers(1, 32), st.integers(1, 8), st.sampled_from([0.0, 0.0, 8.0, 25.0, 60.0]))
windows = st.builds(dense, st.integers(1, 32), st.floats(0.01, 10))
segmentings = st.builds(segments, st.integers(1, 32), st.sampled_from(["hold", "loop"]))


# --- clips with a constant step ------------------------------------------------------------------------------------


@given(videos(), samplings, st.integers(0, 2**32))
def test_random_clip_invariants(video, sampling, seed):
    duration, fps, frames = video
    times = draw_clip(duration=duration, fps=fps, sampling=sampling, rng=np.random.default_rng(seed))
    assert times.shape == (sampling.frames,)
    assert times.dtype == np.float64
    check_clip(times, duration, fps, frames, sampling)


@given(videos(), samplings, st.integers(1, 10))
def test_uniform_clips_invariants(video, sampling, clips):
    duration, fps, frames = video
    times = place_clips(duration=duration, fps=fps, sampling=sampling, clips=clips)
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
    if (sampling.frames - 1) * period > duration:  # too short: starts at the first frame and holds the last one
        assert times[0] == pytest.approx(0.5 / fps)
        assert times[-1] == pytest.approx((frames - 0.5) / fps)


def test_random_clips_start_at_all_fitting_frames_equally_often():
    rng = np.random.default_rng(0)
    starts = [draw_clip(duration=1.2, fps=10.0, sampling=SAMPLING, rng=rng)[0] for _ in range(6000)]
    frames, counts = np.unique(np.round(np.array(starts) * 10 - 0.5).astype(int), return_counts=True)
    assert frames.tolist() == [0, 1, 2, 3, 4, 5]  # 12 frames, a span of 7
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5  # chi squared, 5 degrees of freedom, p = 0.001


def test_the_clips_of_the_drawing():
    times = place_clips(duration=1.0, fps=10.0, sampling=SAMPLING, clips=2)
    np.testing.assert_allclose(times, [[0.05, 0.25, 0.45, 0.65], [0.35, 0.55, 0.75, 0.95]])
    np.testing.assert_allclose(
        place_clips(duration=1.0, fps=10.0, sampling=SAMPLING, clips=1), [[0.15, 0.35, 0.55, 0.75]]
    )
    of_twelve = functools.partial(place_clips, duration=1.2, fps=10.0, clips=1)
    assert numbers(of_twelve(sampling=SAMPLING, start=0.1, end=0.9), 10) == [[1, 3, 5, 7]]
    assert numbers(of_twelve(sampling=dense(4, 0.8), start=0.3, end=1.1), 10) == [[3, 5, 7, 9]]


def test_another_rate_selects_the_frame_on_display():
    twice = clip_of(4, 1, fps=20.0)
    times = place_clips(duration=1.0, fps=10.0, sampling=twice, clips=2)[0]
    np.testing.assert_allclose(times, [0.05, 0.15, 0.15, 0.25])
    half = clip_of(3, 1, fps=5.0)
    times = place_clips(duration=1.0, fps=10.0, sampling=half, clips=2)
    np.testing.assert_allclose(times, [[0.05, 0.25, 0.45], [0.55, 0.75, 0.95]])


@pytest.mark.parametrize("sampling", [clip_of(16, 4, fps=30.0), dense(16, 64 / 30)], ids=["random", "dense"])
@pytest.mark.parametrize("fps", [24.0, 25.0, 30000 / 1001, 50.0])
def test_videos_of_any_rate_see_the_same_seconds(sampling, fps):
    clip, other = (place_clips(duration=10.0, fps=rate, sampling=sampling, clips=3)[1] for rate in (30.0, fps))
    assert np.abs((other - other[0]) - (clip - clip[0])).max() <= 1 / fps  # each is off by half a frame at most
    assert np.abs(other - clip).max() <= 2 / min(fps, 30.0)


@given(videos(), samplings, st.floats(0, 1), st.floats(0.001, 1), st.integers(0, 100))
def test_a_span_bounds_the_clip(video, sampling, where, length, seed):
    duration, fps, _ = video
    start = where * duration * 0.999
    end = start + length * duration
    rng = np.random.default_rng(seed)
    try:
        times = draw_clip(duration=duration, fps=fps, sampling=sampling, rng=rng, start=start, end=end)
    except ValueError:
        assert start > duration - 1 / fps - 1e-6  # within the last frame, so no frame begins in the span
        return
    begins = times - 0.5 / fps
    assert begins.min() >= start - 1e-5 / fps
    assert begins.max() < max(end, begins.min() + 0.5 / fps)
    span = {"duration": duration, "fps": fps, "start": start, "end": end}
    one_each = dataclasses.replace(sampling, method="segments")
    for clips in (
        place_clips(sampling=sampling, clips=3, **span),
        sliding_clips(sampling=sampling, hop=1.0, **span),
        place_clips(sampling=one_each, clips=3, **span),
        draw_clip(sampling=one_each, rng=rng, **span),
    ):
        assert clips.min() - 0.5 / fps >= start - 1e-5 / fps
        assert clips.max() - 0.5 / fps < max(end, clips.min())


def test_a_span_after_the_end():
    with pytest.raises(ValueError, match="the span starts at 3 s, but the video ends at 2 s"):
        place_clips(duration=2.0, fps=10.0, sampling=SAMPLING, clips=1, start=3.0)


# --- dense ---------------------------------------------------------------------------------------------------------


@given(videos(), windows, st.integers(0, 2**32))
def test_dense_clips_divide_their_window(video, sampling, seed):
    duration, fps, frames = video
    times = draw_clip(duration=duration, fps=fps, sampling=sampling, rng=np.random.default_rng(seed))
    first, *others = numbers(times, fps)
    step = sampling.window / sampling.frames
    if frames >= sampling.window * fps + 1:
        assert first / fps + sampling.window <= duration + 0.5 / fps
        assert np.abs(np.diff(times) - step).max(initial=0) <= (1 + 1e-6) / fps
        assert times[-1] - times[0] <= sampling.window + 1 / fps
    elif frames < sampling.window * fps - 1:  # too short: starts at the first frame and holds the last one
        assert first == 0
        assert others == [min(math.floor(k * step * fps + 0.5 + 1e-6), frames - 1) for k in range(1, sampling.frames)]


def test_dense_windows_start_wherever_they_fit():
    sampling, rng = dense(4, 0.8), np.random.default_rng(0)
    drawn = {tuple(numbers(draw_clip(duration=1.2, fps=10.0, sampling=sampling, rng=rng), 10)) for _ in range(200)}
    assert drawn == {tuple(range(start, start + 8, 2)) for start in range(5)}  # the window of 8 frames, not just 7
    ten = numbers(place_clips(duration=1.2, fps=10.0, sampling=sampling, clips=5), 10)
    assert [clip[0] for clip in ten] == [0, 1, 2, 3, 4]


# --- segments ------------------------------------------------------------------------------------------------------


@given(videos(), segmentings, st.integers(0, 2**32))
def test_random_segments_against_exact_fractions(video, sampling, seed):
    duration, fps, frames = video
    found = numbers(draw_clip(duration=duration, fps=fps, sampling=sampling, rng=np.random.default_rng(seed)), fps)
    total = frames * (math.ceil(sampling.frames / frames) if sampling.short == "loop" else 1)
    drawn = np.random.default_rng(seed).random(sampling.frames)
    tiny = Fraction(1, 10**6)
    exact = [(i + Fraction(u)) * total / sampling.frames for i, u in enumerate(drawn)]
    assert found == [min(math.floor(place + tiny), total - 1) % frames for place in exact]


@given(videos(), segmentings, st.integers(1, 5))
def test_uniform_segments_against_exact_fractions(video, sampling, clips):
    duration, fps, frames = video
    found = numbers(place_clips(duration=duration, fps=fps, sampling=sampling, clips=clips), fps)
    total = frames * (math.ceil(sampling.frames / frames) if sampling.short == "loop" else 1)
    for clip, row in enumerate(found):
        inside = Fraction(2 * clip + 1, 2 * clips)
        assert row == [math.floor((i + inside) * total / sampling.frames) % frames for i in range(sampling.frames)]


def test_segments_by_hand():
    place = functools.partial(place_clips, fps=10.0, clips=1)
    assert numbers(place(duration=1.2, sampling=segments(4)), 10) == [[1, 4, 7, 10]]
    assert numbers(place(duration=0.5, sampling=segments(8)), 10) == [[0, 0, 1, 2, 2, 3, 4, 4]]  # the drawing
    assert numbers(place(duration=0.5, sampling=segments(8, "loop")), 10) == [[0, 1, 3, 4, 0, 1, 3, 4]]
    assert numbers(place_clips(duration=1.8, fps=10.0, clips=2, sampling=segments(3)), 10) == [
        [1, 7, 13],
        [4, 10, 16],
    ]


def test_every_frame_of_a_segment_is_drawn_in_proportion():
    rng, counts = np.random.default_rng(0), np.zeros((2, 5))
    for _ in range(4000):
        drawn = numbers(draw_clip(duration=0.5, fps=10.0, sampling=segments(2), rng=rng), 10)
        counts[[0, 1], drawn] += 1
    expected = 4000 * np.array([[0.4, 0.4, 0.2, 0, 0], [0, 0, 0.2, 0.4, 0.4]])  # frame 2 is on the border
    assert (counts[expected == 0] == 0).all()
    inside = expected > 0
    squares = (counts[inside] - expected[inside]) ** 2 / expected[inside]
    assert squares.sum() < 18.5  # chi squared, 4 degrees of freedom, p = 0.001


# --- sliding windows -----------------------------------------------------------------------------------------------


@given(videos(), st.one_of(samplings, windows), st.one_of(st.just(0.0), st.floats(0.02, 20)))
def test_sliding_windows_cover_the_video(video, sampling, hop):
    duration, fps, frames = video
    times = sliding_clips(duration=duration, fps=fps, sampling=sampling, hop=hop)
    starts = np.array(numbers(times, fps))[:, 0]
    period = (
        sampling.window / sampling.frames if sampling.method == "dense" else sampling.stride / (sampling.fps or fps)
    )
    span = math.floor((sampling.frames - 1) * period * fps + 0.5 + 1e-6) + 1
    span = max(span, round(sampling.window * fps))
    step = max(1.0, hop * fps) if hop else span
    assert starts[0] == 0
    assert starts[-1] == max(0, frames - span)  # flush with the end
    hops = np.diff(starts)
    assert (np.abs(hops[:-1] - step) < 1).all()
    assert ((hops > 0) & (hops < step + 1)).all()
    reached, expected = 0.0, 1  # counted in a loop
    while reached < frames - span - 1e-6:
        reached, expected = reached + step, expected + 1
    assert abs(len(starts) - expected) <= (reached % 1 > 0)  # sums of fractions drift
    if step <= span:
        shown = np.zeros(frames, dtype=bool)
        for start in starts:
            shown[start : start + span] = True
        assert shown.all()


def test_sliding_windows_by_hand():
    slide = functools.partial(sliding_clips, fps=10.0, sampling=SAMPLING)  # a span of 7 frames

    def starts(times: np.ndarray) -> list[int]:
        return [clip[0] for clip in numbers(times, 10)]

    assert starts(slide(duration=2.0, hop=0.5)) == [0, 5, 10, 13]
    assert starts(slide(duration=1.7, hop=0.5)) == [0, 5, 10]  # the last hop needs no shortening
    assert starts(slide(duration=2.0, hop=0.0)) == [0, 7, 13]
    assert starts(slide(duration=2.0, hop=9.0)) == [0, 13]
    assert starts(slide(duration=0.9, hop=0.01)) == [0, 1, 2]  # at least one frame
    hundred = sliding_clips(duration=0.36, fps=100.0, sampling=SAMPLING, hop=0.29)
    assert [clip[0] for clip in numbers(hundred, 100)] == [0, 29]  # 0.29 * 100 is below 29 in float arithmetic
    assert numbers(slide(duration=0.5, hop=0.5), 10) == [[0, 2, 4, 4]]
    assert starts(slide(duration=4.0, hop=0.5, start=1.0, end=2.2)) == [10, 15]
    with pytest.raises(ValueError, match=r"hop=-1\.0 must be 0 or more"):
        slide(duration=2.0, hop=-1.0)


# --- short videos --------------------------------------------------------------------------------------------------


def test_short_videos_of_the_drawing():
    clip = functools.partial(place_clips, duration=0.5, fps=10.0, clips=2)
    eight = clip_of(8, 1)
    looped = dataclasses.replace(eight, short="loop")
    assert numbers(clip(sampling=eight), 10) == [[0, 1, 2, 3, 4, 4, 4, 4]] * 2
    assert numbers(clip(sampling=looped), 10) == [[0, 1, 2, 3, 4, 0, 1, 2]] * 2
    assert numbers(sliding_clips(duration=0.5, fps=10.0, sampling=looped, hop=0.1), 10) == [[0, 1, 2, 3, 4, 0, 1, 2]]
    looped = dataclasses.replace(dense(4, 0.8), short="loop")
    assert numbers(clip(sampling=looped), 10) == [[0, 2, 4, 1]] * 2


@given(videos(), st.one_of(samplings, windows, segmentings), st.integers(0, 100))
def test_policies_differ_only_for_short_videos(video, sampling, seed):
    duration, fps, frames = video

    def drawn(short: str) -> np.ndarray:
        of = dataclasses.replace(sampling, short=short)
        clip = draw_clip(duration=duration, fps=fps, sampling=of, rng=np.random.default_rng(seed))
        return np.concatenate([clip, place_clips(duration=duration, fps=fps, sampling=of, clips=3).ravel()])

    try:
        enough = drawn("error")
    except TooShortError:
        assert len(np.unique(drawn("loop"))) <= frames
    else:
        np.testing.assert_array_equal(drawn("hold"), enough)
        np.testing.assert_array_equal(drawn("loop"), enough)


def test_what_is_too_short():
    refusing = dataclasses.replace(SAMPLING, short="error")  # a span of 7 frames
    clip = functools.partial(place_clips, fps=10.0, clips=1)
    assert clip(duration=0.7, sampling=refusing).shape == (1, 4)
    sentence = r"is too short: it has 6 frames \(0\.60 s\), a clip needs 7 \(0\.70 s\)"
    with pytest.raises(TooShortError, match=sentence):
        clip(duration=0.6, sampling=refusing)
    with pytest.raises(TooShortError, match=sentence):
        clip(duration=5.0, sampling=refusing, start=1.0, end=1.6)
    with pytest.raises(TooShortError, match=r"has 3 frames .*, a clip needs 4"):
        clip(duration=0.3, sampling=segments(4, "error"))
    assert clip(duration=0.4, sampling=segments(4, "error")).shape == (1, 4)


def test_how_many_numbers_are_drawn():
    for sampling, count in ((SAMPLING, 1), (dense(4, 1.0), 1), (segments(4), 4)):
        for duration in (0.1, 5.0):
            rng, other = np.random.default_rng(7), np.random.default_rng(7)
            draw_clip(duration=duration, fps=10.0, sampling=sampling, rng=rng)
            other.random(count)
            assert rng.random() == other.random()


@pytest.mark.parametrize("sampling", [SAMPLING, segments(4)], ids=["random", "segments"])
def test_zero_clips_are_refused(sampling):
    with pytest.raises(ValueError, match="clips=0 must be 1 or more"):
        place_clips(duration=1.0, fps=10.0, sampling=sampling, clips=0)
