"""Every sampling method on files whose frames show their number, and short videos."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from videopool.data.loading.dataset import TestVideos, TrainClips
from videopool.data.sampling import ClipSampling
from videopool.types import BadVideo, VideoRecord

SAMPLING = ClipSampling(frames=4, stride=2, scale=(48, 48), crop=48, flip=False, test_scale=48, test_crop=48)
SEGMENTS = dataclasses.replace(SAMPLING, method="segments")
DENSE = dataclasses.replace(SAMPLING, method="dense", window=1.6)


@pytest.fixture(scope="module")
def records(tmp_path_factory, write_video) -> list[VideoRecord]:
    """Videos of 3 and 20 frames at 10 frames per second."""
    root = tmp_path_factory.mktemp("videos")
    paths = [write_video(root / f"{length}.mp4", length, size=(48, 48)) for length in (3, 20)]
    return [VideoRecord(path.name, path, label) for label, path in enumerate(paths)]


def shown(videos: TestVideos, video: int, read_numbers) -> list[list[int]]:
    return [read_numbers(clip.frames) for clip in videos[video]]


def test_training_clips_of_segments_and_windows(records, read_numbers):
    segments = np.array([read_numbers(TrainClips(records, SEGMENTS, seed=0)[epoch, 1].frames) for epoch in range(60)])
    for segment, drawn in enumerate(segments.T):
        assert set(drawn) == set(range(5 * segment, 5 * segment + 5))
    dense = np.array([read_numbers(TrainClips(records, DENSE, seed=0)[epoch, 1].frames) for epoch in range(40)])
    assert (np.diff(dense, axis=1) == 4).all()
    assert set(dense[:, 0]) == {0, 1, 2, 3, 4}  # 20 frames, a window of 16


def test_test_clips_of_segments_and_windows(records, read_numbers):
    assert shown(TestVideos(records, SEGMENTS, clips=1, crops=1), 1, read_numbers) == [[2, 7, 12, 17]]
    assert shown(TestVideos(records, SEGMENTS, clips=2, crops=1), 1, read_numbers) == [[1, 6, 11, 16], [3, 8, 13, 18]]
    assert shown(TestVideos(records, DENSE, clips=2, crops=1), 1, read_numbers) == [[0, 4, 8, 12], [4, 8, 12, 16]]


@pytest.mark.parametrize(
    ("sampling", "held", "looped"),
    [
        (SAMPLING, [0, 2, 2, 2], [0, 2, 1, 0]),
        (SEGMENTS, [0, 1, 1, 2], [0, 2, 0, 2]),
        (DENSE, [0, 2, 2, 2], [0, 1, 2, 0]),
    ],
    ids=["random", "segments", "dense"],
)
def test_short_videos(sampling, held, looped, records, read_numbers):
    for short, expected in (("hold", held), ("loop", looped)):
        videos = TestVideos(records, dataclasses.replace(sampling, short=short), clips=1, crops=1)
        assert shown(videos, 0, read_numbers) == [expected]
    refusing = dataclasses.replace(sampling, short="error")
    bad = TestVideos(records, refusing, clips=1, crops=1)[0]
    assert isinstance(bad, BadVideo)
    assert "is too short: it has 3 frames (0.30 s)" in bad.reason
    clip = TrainClips(records, refusing, seed=0)[0, 0]
    assert (clip.video, clip.substituted) == (1, True)
    assert clip.bad[0] == bad
