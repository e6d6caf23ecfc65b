"""Training clips and test views from files."""

from __future__ import annotations

import dataclasses
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from videopool.data.decoding import decode as decode_module
from videopool.data.decoding.decode import Reading
from videopool.data.decoding.reader import DecodeError
from videopool.data.lists.columns import text_columns
from videopool.data.lists.table import VideoTable
from videopool.data.loading.dataset import ATTEMPTS, NoClip, TestVideos, TrainClips
from videopool.data.sampling import ClipSampling
from videopool.errors import InputError
from videopool.types import BadVideo, VideoRecord

FPS = 10
SAMPLING = ClipSampling(frames=4, stride=2, scale=(48, 48), crop=48, flip=False, test_scale=48, test_crop=48)
CROPPED = dataclasses.replace(SAMPLING, scale=(48, 64), crop=40, flip=True)


@pytest.fixture
def records(tmp_path, write_video) -> list[VideoRecord]:
    """Videos of 1, 5, 20 and 40 square frames, whose bars can be read as numbers."""
    lengths = (1, 5, 20, 40)
    paths = [write_video(tmp_path / f"{length}.mp4", length, size=(48, 48), fps=FPS) for length in lengths]
    return [VideoRecord(path.name, path, label) for label, path in enumerate(paths)]


def bad_record(path: Path) -> VideoRecord:
    path.write_text("no video")
    return VideoRecord(path.name, path, 7)


def test_training_clips_are_evenly_spaced_from_every_start(records, read_numbers):
    clips = TrainClips(records, SAMPLING, seed=0)
    starts = set()
    for epoch in range(60):
        clip = clips[epoch, 2]
        numbers = read_numbers(clip.frames)
        assert np.diff(numbers).tolist() == [2, 2, 2]
        starts.add(numbers[0])
        assert (clip.label, clip.video, clip.view, clip.substituted, clip.bad) == (2, 2, 0, False, ())
        assert clip.frames.dtype == torch.uint8
        assert clip.frames.shape == (3, 4, 48, 48)
        assert clip.frames.is_contiguous()
    assert starts == set(range(14))


def test_short_videos_repeat_their_last_frame(records, read_numbers):
    clips = TrainClips(records, SAMPLING, seed=0)
    assert read_numbers(clips[0, 0].frames) == [0, 0, 0, 0]
    assert read_numbers(clips[0, 1].frames) == [0, 2, 4, 4]


def test_a_clip_depends_only_on_seed_epoch_and_index(records):
    def frames(seed: int, epoch: int, index: int) -> torch.Tensor:
        return TrainClips(records, CROPPED, seed=seed)[epoch, index].frames

    first = frames(0, 0, 3)
    other = TrainClips(records, CROPPED, seed=0)
    for key in ((5, 2), (0, 2), (0, 3)):
        again = other[key]
    assert torch.equal(again.frames, first)
    for change in ((1, 0, 3), (0, 1, 3), (0, 0, 7)):  # index 7 is video 3 again
        assert not torch.equal(frames(*change), first)
    assert TrainClips(records, CROPPED, seed=0)[0, 7].video == 3


def test_bad_video_is_replaced_marked_and_listed(tmp_path, records):
    listed = [bad_record(tmp_path / "a.mp4"), records[2], bad_record(tmp_path / "b.mp4"), records[3]]
    clips = TrainClips(listed, SAMPLING, seed=0)
    seen = set()
    for epoch in range(20):
        clip = clips[epoch, 0]
        assert clip.substituted
        assert clip.video in (1, 3)
        assert clip.label == listed[clip.video].label
        assert clip.bad[0] == BadVideo(0, str(tmp_path / "a.mp4"), clip.bad[0].reason)
        assert "is not a video" in clip.bad[0].reason
        assert {bad.video for bad in clip.bad} <= {0, 2}
        again = TrainClips(listed, SAMPLING, seed=0)[epoch, 0]
        assert torch.equal(again.frames, clip.frames)
        assert again.bad == clip.bad
        seen.add((clip.video, len(clip.bad)))
    assert {video for video, _ in seen} == {1, 3}
    assert max(failures for _, failures in seen) > 1
    assert not clips[0, 1].substituted


def test_a_substitute_has_the_same_class_if_possible(tmp_path, records):
    bad = [dataclasses.replace(bad_record(tmp_path / f"bad{number}.mp4"), label=0) for number in range(3)]
    good = [dataclasses.replace(records[number % 4], label=number // 4) for number in range(12)]  # 0, 1, 2
    clips = TrainClips([*bad, *good], SAMPLING, seed=0)
    drawn = [clips[epoch, 0] for epoch in range(40)]
    assert {clip.label for clip in drawn} == {0}
    assert {clip.video for clip in drawn} == {3, 4, 5, 6}
    assert all(len({video.video for video in clip.bad}) == len(clip.bad) for clip in drawn)  # none is tried twice
    alone = TrainClips([*bad, *good[4:]], SAMPLING, seed=0)  # class 0 has only bad videos
    drawn = [alone[epoch, 0] for epoch in range(40)]
    assert {clip.label for clip in drawn} == {1, 2}
    assert all({video.video for video in clip.bad} == {0, 1, 2} for clip in drawn)


def test_only_bad_videos_stop_the_run(tmp_path):
    clips = TrainClips([bad_record(tmp_path / "a.mp4")], SAMPLING, seed=0)
    nothing = clips[0, 0]
    assert isinstance(nothing, NoClip)
    assert re.search(
        rf"{ATTEMPTS} videos in a row .*a\.mp4, is not a video.*\. Check that the list names videos", nothing.message
    )


def test_clips_stay_in_the_span(records, read_numbers):
    part = dataclasses.replace(records[3], start_seconds=1.0, end_seconds=2.0)
    clips = TrainClips([part], SAMPLING, seed=0)
    numbers = [number for epoch in range(30) for number in read_numbers(clips[epoch, 0].frames)]
    assert min(numbers) == 10
    assert max(numbers) == 19
    after = dataclasses.replace(records[1], start_seconds=2.0)
    result = TestVideos([after], SAMPLING, clips=1, crops=1)[0]
    assert isinstance(result, BadVideo)
    assert "does not hold the listed span: the span starts at 2 s, but the video ends at 0.5 s" in result.reason


def test_test_views_are_spread_over_the_video(records, read_numbers, monkeypatch):
    opened = []
    original = decode_module.open_video
    monkeypatch.setattr(
        decode_module, "open_video", lambda *args, **kw: (opened.append(args), original(*args, **kw))[1]
    )
    videos = TestVideos(records, SAMPLING, clips=3, crops=1)
    views = videos[3]
    assert isinstance(views, tuple)
    assert len(opened) == 1
    numbers = [read_numbers(clip.frames) for clip in views]
    assert numbers == [[0, 2, 4, 6], [16, 18, 20, 22], [33, 35, 37, 39]]
    assert [(clip.view, clip.video, clip.label) for clip in views] == [(0, 3, 3), (1, 3, 3), (2, 3, 3)]
    assert [read_numbers(clip.frames) for clip in videos[1]] == [[0, 2, 4, 4]] * 3


def test_three_crops_of_each_clip(tmp_path, write_video):
    path = write_video(tmp_path / "wide.mp4", 20, size=(96, 48), fps=FPS)
    sampling = dataclasses.replace(SAMPLING, test_scale=24, test_crop=24)
    videos = TestVideos([VideoRecord("wide", path, 0)], sampling, clips=2, crops=3)
    assert [(view.temporal, view.spatial, view.index) for view in videos.views] == [
        (0, 0, 0),
        (0, 1, 1),
        (0, 2, 2),
        (1, 0, 3),
        (1, 1, 4),
        (1, 2, 5),
    ]
    views = videos[0]
    assert [clip.view for clip in views] == [0, 1, 2, 3, 4, 5]
    assert all(clip.frames.shape == (3, 4, 24, 24) for clip in views)
    left, middle, right = (clip.frames.float() for clip in views[:3])
    torch.testing.assert_close(left[..., 12:], middle[..., :12], rtol=0, atol=0)
    torch.testing.assert_close(middle[..., 12:], right[..., :12], rtol=0, atol=0)


def test_a_bad_test_video_is_never_replaced(tmp_path, records):
    result = TestVideos([records[2], bad_record(tmp_path / "a.mp4")], SAMPLING, clips=1, crops=1)[1]
    assert isinstance(result, BadVideo)
    assert (result.video, result.path) == (1, str(tmp_path / "a.mp4"))


@pytest.mark.slow
def test_a_hanging_decoder_costs_one_clip(records, monkeypatch):
    never = threading.Event()
    original = decode_module.open_video

    def hang_on_first(record, **settings):
        if record.path == records[2].path:
            never.wait(60)
            raise DecodeError(record.path, "was let go")
        return original(record, **settings)

    monkeypatch.setattr(decode_module, "open_video", hang_on_first)
    clip = TrainClips(records, SAMPLING, seed=0, reading=Reading(timeout=1.0))[0, 2]
    assert clip.substituted
    assert clip.bad[0].reason == "took longer than 1 s to decode"
    result = TestVideos(records, SAMPLING, clips=1, crops=1, reading=Reading(timeout=0.1))[2]
    assert isinstance(result, BadVideo)
    never.set()


def test_settings_are_checked(records):
    with pytest.raises(InputError, match="list of videos is empty"):
        TrainClips([], SAMPLING, seed=0)
    with pytest.raises(InputError, match=r"seed=-1 must be 0 or more"):
        TrainClips(records, SAMPLING, seed=-1)
    with pytest.raises(InputError, match=r"decoder='x'"):
        TrainClips(records, SAMPLING, seed=0, reading=Reading(decoder="x"))
    with pytest.raises(InputError, match=r"timeout=0"):
        TrainClips(records, SAMPLING, seed=0, reading=Reading(timeout=0))
    with pytest.raises(InputError, match="crops=2 must be"):
        TestVideos(records, SAMPLING, clips=1, crops=2)
    with pytest.raises(InputError, match="clips=0 must be 1 or more"):
        TestVideos(records, SAMPLING, clips=0, crops=1)


def test_classes_that_mirroring_changes_are_not_mirrored(tmp_path, write_video):
    """The bars in the frames of ``write_video`` show whether a clip is mirrored; all see the same draws."""
    path = write_video(tmp_path / "v.mp4", 12, fps=FPS)
    records = [VideoRecord("a", path, 0), VideoRecord("b", path, 1), VideoRecord("c", path, 2, labels=(0, 2))]
    free = TrainClips(records, CROPPED, seed=0)
    bound = TrainClips(records, CROPPED, seed=0, no_flip=frozenset({0, 1}))
    never = TrainClips(records, dataclasses.replace(CROPPED, flip=False), seed=0)
    only = TrainClips(records, CROPPED, seed=0, no_flip=frozenset({1}))
    flips = 0
    for epoch in range(12):
        for video in range(3):
            clip = free[epoch, video].frames
            assert torch.equal(bound[epoch, video].frames, never[epoch, video].frames)
            expected = never if video == 1 else free
            assert torch.equal(only[epoch, video].frames, expected[epoch, video].frames)
            flips += not torch.equal(clip, never[epoch, video].frames)
    assert 8 <= flips <= 28


def test_a_video_that_a_scan_found_unreadable_is_not_tried(records, monkeypatch):
    table = VideoTable.from_records(records, Path("/"))
    texts = ["" for _ in records]
    texts[1] = "is truncated"
    table.columns["reason"], table.columns["reason_ends"] = text_columns(texts)
    original = decode_module.open_video
    opened = []
    monkeypatch.setattr(
        decode_module, "open_video", lambda record, **kw: (opened.append(record.path), original(record, **kw))[1]
    )
    clip = TrainClips(table, SAMPLING, seed=0)[0, 1]
    assert clip.substituted
    assert [bad.reason for bad in clip.bad] == ["is truncated"]
    result = TestVideos(table, SAMPLING, clips=1, crops=1)[1]
    assert result == BadVideo(1, str(records[1].path), "is truncated")
    assert records[1].path not in opened


def test_a_file_that_was_cut_is_read_whole(tmp_path, write_video, read_numbers):
    """The list gives the span in the whole video, but the file contains only that span."""
    path = write_video(tmp_path / "cut.mp4", 20, size=(48, 48), fps=FPS)
    seconds = 20 / FPS
    listed = VideoRecord("cut", path, 0, 63.0, 63.0 + seconds, may_be_cut=True)
    views = TestVideos([listed], SAMPLING, clips=2, crops=1)[0]
    whole = TestVideos([VideoRecord("cut", path, 0)], SAMPLING, clips=2, crops=1)[0]
    assert [read_numbers(view.frames) for view in views] == [read_numbers(view.frames) for view in whole]
    longer = dataclasses.replace(listed, end_seconds=63.0 + seconds - 1)
    certain = dataclasses.replace(listed, may_be_cut=False)  # the spans apply to the files
    for record in (longer, certain):
        assert isinstance(TestVideos([record], SAMPLING, clips=2, crops=1)[0], BadVideo)
    short = dataclasses.replace(certain, start_seconds=1.0, end_seconds=1.0 + seconds)  # ends with the file
    assert read_numbers(TestVideos([short], SAMPLING, clips=1, crops=1)[0][0].frames)[0] >= FPS
