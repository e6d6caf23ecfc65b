"""Sliding windows over whole videos: all of them for any number of workers and processes, and broken videos."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from videopool.data.decoding import decode as decode_module
from videopool.data.decoding.decode import Reading
from videopool.data.loading import windows as windows_module
from videopool.data.loading.loader import WindowLoader
from videopool.data.loading.windows import WindowStream, WindowVideos
from videopool.data.sampling import ClipSampling
from videopool.errors import InputError
from videopool.types import BadVideo, Clip, VideoRecord

FPS = 10
SAMPLING = ClipSampling(frames=4, stride=2, scale=(48, 48), crop=48, test_scale=48, test_crop=48)
LENGTHS = (5, 20, 33, 12, 40)  # a window spans 7 frames
WINDOWS = {5: 1, 20: 4, 33: 7, 12: 2, 40: 8}  # with a hop of 5 frames


@pytest.fixture(scope="module")
def records(tmp_path_factory, write_video) -> list[VideoRecord]:
    root = tmp_path_factory.mktemp("videos")
    paths = [write_video(root / f"{length}.mp4", length, size=(48, 48), fps=FPS) for length in LENGTHS]
    return [VideoRecord(path.name, path, label) for label, path in enumerate(paths)]


def with_bad(records: list[VideoRecord], folder: Path) -> list[VideoRecord]:
    """Return the records with a bad video in second place."""
    path = folder / "bad.mp4"
    path.write_text("no video")
    return [records[0], VideoRecord("bad", path, 9), *records[1:]]


def clips_of(videos: WindowVideos, video: int) -> list[Clip]:
    clips = list(videos.clips(video))
    assert all(isinstance(clip, Clip) for clip in clips)
    assert [clip.view for clip in clips] == list(range(len(clips)))
    return clips


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_windows_show_the_whole_video_from_one_opening(records, read_numbers, monkeypatch, at_once):
    opened, original = [], decode_module.open_video
    monkeypatch.setattr(
        decode_module, "open_video", lambda *args, **kw: (opened.append(args), original(*args, **kw))[1]
    )
    videos = WindowVideos(records, SAMPLING, hop=0.5, crops=1, at_once=at_once)
    clips = clips_of(videos, 1)
    assert [read_numbers(clip.frames) for clip in clips] == [
        [0, 2, 4, 6],
        [5, 7, 9, 11],
        [10, 12, 14, 16],
        [13, 15, 17, 19],
    ]
    assert {(clip.video, clip.label) for clip in clips} == {(1, 1)}
    assert len(opened) == 1
    assert [read_numbers(clip.frames) for clip in clips_of(videos, 0)] == [[0, 2, 4, 4]]


def test_a_hop_of_zero_leaves_no_gap(records, read_numbers):
    sampling = dataclasses.replace(SAMPLING, stride=1)
    shown = [read_numbers(clip.frames) for clip in clips_of(WindowVideos(records, sampling, hop=0, crops=1), 4)]
    assert np.ravel(shown).tolist() == list(range(40))


def test_spans_and_crops(records, read_numbers, tmp_path, write_video):
    part = dataclasses.replace(records[4], start_seconds=1.0, end_seconds=2.5)
    clips = clips_of(WindowVideos([part], SAMPLING, hop=0.5, crops=1), 0)
    assert [read_numbers(clip.frames)[0] for clip in clips] == [10, 15, 18]
    path = write_video(tmp_path / "wide.mp4", 20, size=(96, 48), fps=FPS)
    sampling = dataclasses.replace(SAMPLING, test_scale=24, test_crop=24)
    one, three = (WindowVideos([VideoRecord("a", path, 0)], sampling, hop=0.5, crops=crops) for crops in (1, 3))
    middle, all_crops = clips_of(one, 0), clips_of(three, 0)
    assert len(all_crops) == 12
    assert all(torch.equal(clip.frames, other.frames) for clip, other in zip(middle, all_crops[1::3], strict=True))
    assert not torch.equal(all_crops[0].frames, all_crops[2].frames)


def test_dense_windows_slide_too(records, read_numbers):
    dense = dataclasses.replace(SAMPLING, method="dense", window=0.8)
    clips = clips_of(WindowVideos(records, dense, hop=0, crops=1), 1)
    assert [read_numbers(clip.frames) for clip in clips] == [[0, 2, 4, 6], [8, 10, 12, 14], [12, 14, 16, 18]]


# --- what fails ----------------------------------------------------------------------------------------------------


def test_a_bad_video_is_listed(records, tmp_path):
    (bad,) = WindowVideos(with_bad(records, tmp_path), SAMPLING, hop=0.5, crops=1).clips(1)
    assert isinstance(bad, BadVideo)
    assert (bad.video, bad.path) == (1, str(tmp_path / "bad.mp4"))


def test_a_video_too_short_for_its_windows(records):
    refusing = dataclasses.replace(SAMPLING, short="error")
    (bad,) = WindowVideos(records, refusing, hop=0.5, crops=1).clips(0)
    assert isinstance(bad, BadVideo)
    assert "is too short: it has 5 frames" in bad.reason
    assert bad.reason.endswith("(short=error)")


def breaking_after(calls: int, action: Callable[[], None]) -> Callable:
    """Return a ``views_at`` that does ``action`` from call number ``calls`` on."""
    done, original = [], windows_module.views_at

    def views_at(*arguments):
        done.append(arguments)
        if len(done) > calls:
            action()
        return original(*arguments)

    return views_at


def test_a_video_that_breaks_off_is_listed_after_its_clips(records, monkeypatch):
    def fail() -> None:
        raise windows_module.DecodeError(records[4].path, "is damaged")

    monkeypatch.setattr(windows_module, "views_at", breaking_after(2, fail))
    *clips, last = WindowVideos(records, SAMPLING, hop=0.5, crops=1, at_once=2).clips(4)
    assert [clip.view for clip in clips] == [0, 1, 2, 3]
    assert last == BadVideo(4, str(records[4].path), "is damaged")


@pytest.fixture
def closed(monkeypatch) -> threading.Event:
    """An event that is set when a video is closed."""
    event, original = threading.Event(), decode_module.open_video

    @contextlib.contextmanager
    def noting(*arguments, **settings):
        with original(*arguments, **settings) as opened:
            try:
                yield opened
            finally:
                event.set()

    monkeypatch.setattr(decode_module, "open_video", noting)
    return event


@pytest.mark.slow
def test_a_video_that_hangs_is_abandoned_and_closed_when_it_continues(records, monkeypatch, closed):
    never = threading.Event()
    monkeypatch.setattr(windows_module, "views_at", breaking_after(1, lambda: never.wait(60)))
    *clips, last = WindowVideos(records, SAMPLING, hop=0.5, crops=1, at_once=2, reading=Reading(timeout=1.0)).clips(4)
    assert len(clips) == 2
    assert last.reason == "took longer than 1 s to decode"
    assert not closed.is_set()  # the decoder still works on it
    never.set()
    assert closed.wait(20)


def test_the_file_is_closed_if_iteration_stops_early(records, closed):
    clips = WindowVideos(records, SAMPLING, hop=0.5, crops=1, at_once=1).clips(4)
    next(clips)
    assert not closed.is_set()
    clips.close()
    assert closed.is_set()


def test_settings_are_checked(records):
    with pytest.raises(InputError, match=r"clips=0.* are not possible with sampling=segments"):
        WindowVideos(records, dataclasses.replace(SAMPLING, method="segments"), hop=1, crops=1)
    with pytest.raises(InputError, match=r"hop=-1 must be 0 or more \(0: the length of a window\)"):
        WindowVideos(records, SAMPLING, hop=-1, crops=1)
    with pytest.raises(InputError, match="crops=2"):
        WindowVideos(records, SAMPLING, hop=1, crops=2)
    with pytest.raises(InputError, match="list of videos is empty"):
        WindowVideos([], SAMPLING, hop=1, crops=1)


# --- batches -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("world", "workers"), [(1, 0), (2, 0), (7, 0), (1, 2), (2, 2)])
def test_every_window_once_on_any_number_of_processes_and_workers(records, tmp_path, world, workers):
    videos = WindowVideos(with_bad(records, tmp_path), SAMPLING, hop=0.5, crops=1)
    loaders = [WindowLoader(videos, batch=3, rank=rank, world=world, workers=workers) for rank in range(world)]
    for _ in range(2):  # a second time, by the same workers
        batches = [list(loader) for loader in loaders]
        pairs = [
            pair
            for of_rank in batches
            for batch in of_rank
            for pair in zip(batch.video.tolist(), batch.view.tolist(), strict=True)
        ]
        counts = {0: 1, 2: 4, 3: 7, 4: 2, 5: 8}
        assert sorted(pairs) == [(video, view) for video, count in counts.items() for view in range(count)]
        assert [bad.video for of_rank in batches for batch in of_rank for bad in batch.bad] == [1]
        assert all(len(batch) <= 3 for of_rank in batches for batch in of_rank)
        if not workers:  # batches continue from one video to the next
            assert all(len(batch) == 3 for of_rank in batches for batch in of_rank[:-1])
    assert [loader.videos for loader in loaders] == [len(range(rank, 6, world)) for rank in range(world)]
    assert not (world == 7 and batches[6])  # a process without a video
    for loader in loaders:
        loader.close()


def test_batches_hold_the_clips_and_their_labels(records):
    videos = WindowVideos(records, SAMPLING, hop=0.5, crops=1)
    for batch in WindowLoader(videos, batch=5, workers=0):
        for row, (video, view) in enumerate(zip(batch.video.tolist(), batch.view.tolist(), strict=True)):
            clip = list(videos.clips(video))[view]
            assert torch.equal(batch.clips[row], clip.frames)
            assert batch.labels[row] == clip.label == video


def test_a_stream_yields_failures_without_clips(tmp_path):
    path = tmp_path / "bad.mp4"
    path.write_text("no video")
    videos = WindowVideos([VideoRecord("a", path, 0)] * 2, SAMPLING, hop=1, crops=1)
    ((clips, *bad),) = WindowStream(videos, range(2), 4)
    assert clips == ()
    assert [video.video for video in bad] == [0, 1]
    (batch,) = WindowLoader(videos, batch=4, workers=0)
    assert batch.clips.shape == (0, 3, 4, 48, 48)
    assert len(batch.bad) == 2
