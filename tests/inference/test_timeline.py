"""Smoothing, segments and merging, against definitions written out in float64."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videopool.inference.timeline import Merger, Segment, Segmenter, Smoother, TimelineBuilder, Window

CLASSES = ("a", "b", "c")


def windows_of(labels: str, *, hop: float = 0.5, length: float = 1.0, score: float = 0.8) -> list[Window]:
    """Windows that show the classes of ``labels``, one letter each."""
    found = []
    for number, label in enumerate(labels):
        probabilities = torch.full((3,), (1 - score) / 2)
        probabilities[CLASSES.index(label)] = score
        found.append(Window(number * hop, number * hop + length, probabilities))
    return found


def segments_of(windows: list[Window], **settings: float | bool) -> list[Segment]:
    chosen = {"smooth": 0.0, "shortest": 0.0, "threshold": 0.0, "several": False, **settings}
    builder = TimelineBuilder(CLASSES, **chosen)
    found = [segment for window in windows for segment in builder.add(window)[1]]
    return [*found, *builder.finish()[1]]


def spans(segments: list[Segment]) -> list[tuple[float, float, str]]:
    return [(round(each.start, 6), round(each.end, 6), each.label) for each in segments]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.floats(0, 4), st.integers(0, 100))
def test_smoothing_is_the_mean_of_the_windows_near(count: int, seconds: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    starts = np.cumsum(rng.uniform(0.05, 1.0, count))
    scores = rng.random((count, 3)).astype(np.float32)
    windows = [Window(s, s + 1.0, torch.from_numpy(row)) for s, row in zip(starts.tolist(), scores, strict=True)]
    smoother = Smoother(seconds)
    found = [smooth for window in windows for smooth in smoother.add(window)]
    found += smoother.finish()
    assert [window.start for window in found] == starts.tolist()
    for smooth, center in zip(found, starts, strict=True):
        near = np.abs(starts - center) <= seconds / 2 + 1e-3
        expected = scores[near].astype(np.float64).mean(0)
        np.testing.assert_allclose(smooth.probabilities.numpy(), expected, rtol=count * np.finfo(np.float32).eps)


def test_smoothing_keeps_only_the_windows_that_it_needs() -> None:
    smoother = Smoother(2.0)
    for window in windows_of("a" * 500):
        for _ in smoother.add(window):
            pass
        assert len(smoother._windows) <= 8


def test_segments_meet_between_the_centers_of_windows() -> None:
    found = segments_of(windows_of("aabbb"))
    assert spans(found) == [(0.0, 1.25, "a"), (1.25, 3.0, "b")]
    assert [each.score for each in found] == pytest.approx([0.8, 0.8])


def test_windows_below_the_threshold_belong_to_no_segment() -> None:
    windows = [*windows_of("aab"), *windows_of("aaaaac", score=0.5)[3:]]
    assert spans(segments_of(windows, threshold=0.6)) == [(0.0, 1.25, "a"), (1.25, 1.75, "b")]
    assert segments_of(windows, threshold=0.9) == []


def test_a_segment_ends_where_windows_leave_a_part_out() -> None:
    first, second = windows_of("aa"), windows_of("aaaaaaaa")[6:]
    assert spans(segments_of([*first, *second])) == [(0.0, 1.5, "a"), (3.0, 4.5, "a")]


def test_segments_of_several_classes_overlap() -> None:
    scores = [(0.9, 0.1, 0.1), (0.8, 0.7, 0.2), (0.1, 0.9, 0.2)]
    windows = [Window(n * 0.5, n * 0.5 + 1, torch.tensor(row)) for n, row in enumerate(scores)]
    found = segments_of(windows, several=True, threshold=0.5)
    assert spans(found) == [(0.0, 1.25, "a"), (0.75, 2.0, "b")]
    assert [each.score for each in found] == pytest.approx([0.85, 0.8])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("aaacbbb", [(0.0, 2.0, "a"), (2.0, 4.0, "b")]),  # the windows at a join look like a third class
        ("aaabaaa", [(0.0, 4.0, "a")]),
        ("caaa", [(0.0, 2.5, "a")]),  # the short one before the first long one
        ("aaac", [(0.0, 2.5, "a")]),
        ("aaabcbccc", [(0.0, 2.5, "a"), (2.5, 5.0, "c")]),
    ],
)
def test_short_segments_become_part_of_their_neighbors(labels: str, expected: list) -> None:
    assert spans(segments_of(windows_of(labels), shortest=0.8)) == expected


def test_merging_gives_the_mean_score_by_time() -> None:
    merger = Merger(1.0, several=False)
    parts = [Segment(0, 2, "a", 0.9), Segment(2, 2.5, "b", 0.4), Segment(2.5, 3.5, "a", 0.6)]
    assert [each for part in parts for each in merger.add(part)] == []
    (found,) = merger.finish()
    assert (found.start, found.end, found.label) == (0, 3.5, "a")
    assert found.score == pytest.approx((2 * 0.9 + 1 * 0.6) / 3)


def test_short_segments_alone_are_dropped_and_gaps_stay() -> None:
    merger = Merger(1.0, several=False)
    parts = [Segment(0, 0.5, "a", 1), Segment(2, 4, "b", 1), Segment(4, 4.2, "c", 1), Segment(6, 8, "b", 1)]
    found = [each for part in parts for each in merger.add(part)]
    assert spans([*found, *merger.finish()]) == [(2, 4.2, "b"), (6, 8, "b")]


@settings(deadline=None, max_examples=60)
@given(st.text("abc", min_size=1, max_size=30), st.sampled_from([0.0, 0.7, 1.2]), st.sampled_from([0.0, 1.0]))
def test_segments_of_one_class_at_a_time_never_overlap(labels: str, shortest: float, smooth: float) -> None:
    windows = windows_of(labels)
    found = segments_of(windows, shortest=shortest, smooth=smooth)
    for segment in found:
        assert 0 <= segment.start < segment.end <= windows[-1].end
        assert segment.end - segment.start >= shortest - 1e-3
    for left, right in itertools.pairwise(found):
        assert left.end <= right.start + 1e-9
        assert left.label != right.label or left.end < right.start - 1e-9
    if not shortest:
        assert (found[0].start, found[-1].end) == (0.0, windows[-1].end)


def test_a_segmenter_returns_a_segment_as_soon_as_it_ends() -> None:
    segmenter = Segmenter(CLASSES, threshold=0.0, several=False)
    lengths = [len(segmenter.add(window)) for window in windows_of("aabb")]
    assert lengths == [0, 0, 1, 0]
    assert spans(segmenter.finish()) == [(1.25, 2.5, "b")]
