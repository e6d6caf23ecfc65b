"""Loader workers that die: the batches do not depend on it, and the cause is found."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from videopool.data.decoding.decode import Reading
from videopool.data.loading import supervisor
from videopool.data.loading.active_decodes import ActiveDecodes
from videopool.data.loading.dataset import TestVideos, TrainClips
from videopool.data.loading.loader import TestLoader, TrainLoader, WindowLoader
from videopool.data.loading.torch_loader import worker_processes
from videopool.data.loading.windows import WindowVideos
from videopool.data.sampling import ClipSampling
from videopool.errors import InputError
from videopool.processes.children import exit_description
from videopool.types import BadVideo, Batch, VideoRecord

SAMPLING = ClipSampling(frames=3, stride=1, scale=(32, 40), crop=24, test_scale=32, test_crop=32)
LETHAL = 4
REASON = "ended its worker process (signal 11, SIGSEGV)"


@pytest.fixture(scope="module")
def records(tmp_path_factory, write_video) -> list[VideoRecord]:
    root = tmp_path_factory.mktemp("videos")
    paths = [write_video(root / f"{number}.mp4", 9 + number, size=(48, 48)) for number in range(9)]
    return [VideoRecord(path.name, path, number % 3) for number, path in enumerate(paths)]


def die(record: VideoRecord, every: str, once: Path | None) -> None:
    """End the process at the video ``every``, and at the video named in the file ``once``, which is then deleted."""
    if record.id == every:
        time.sleep(0.3)  # until the batches before it have been sent
        ctypes.string_at(0)  # a real fault, in the thread that decodes
    if once is not None and once.exists() and once.read_text() == record.id:
        once.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


class DyingClips(TrainClips):
    every = ""
    once: Path | None = None

    def _decode(self, record: VideoRecord, shape: int, rng: Any) -> torch.Tensor:
        die(record, self.every, self.once)
        return super()._decode(record, shape, rng)


class LateDyingClips(TrainClips):
    """Video ``LETHAL`` times out, and ends its process while the next one is being decoded."""

    def _decode(self, record: VideoRecord, shape: int, rng: Any) -> torch.Tensor:
        if record.label == LETHAL:
            time.sleep(1.3)
            os.kill(os.getpid(), signal.SIGKILL)
        if record.label == LETHAL + 1:
            time.sleep(0.6)
        return super()._decode(record, shape, rng)


class HangingClips(TrainClips):
    """Video ``LETHAL`` takes too long; each start of its decode adds a byte to ``tries``."""

    tries: Path

    def _decode(self, record: VideoRecord, shape: int, rng: Any) -> torch.Tensor:
        if record.path.stem == str(LETHAL):
            with self.tries.open("ab") as file:
                file.write(b".")
            time.sleep(1.0)
        return super()._decode(record, shape, rng)


class BlockingClips(TrainClips):
    """Video ``LETHAL`` keeps the interpreter's lock: nothing else in the process runs, not even the timeout."""

    def _decode(self, record: VideoRecord, shape: int, rng: Any) -> torch.Tensor:
        if record.path.stem == str(LETHAL):
            ctypes.PyDLL(None).sleep(60)
        return super()._decode(record, shape, rng)


class SlowClips(TrainClips):
    def _decode(self, record: VideoRecord, shape: int, rng: Any) -> torch.Tensor:
        time.sleep(0.5)
        return super()._decode(record, shape, rng)


class DyingVideos(TestVideos):
    every = ""

    def _decode(self, record: VideoRecord) -> list[torch.Tensor]:
        die(record, self.every, None)
        return super()._decode(record)


class DyingWindows(WindowVideos):
    """It dies after the first part of a video, some of whose windows have been sent."""

    every = ""
    once: Path | None = None

    def _parts(self, record: VideoRecord) -> Any:
        for number, part in enumerate(super()._parts(record)):
            if number:
                die(record, self.every, self.once)
            yield part


class DyingElsewhere(TrainClips):
    """It dies while no video is being decoded, as it does without shared memory."""

    def __getitem__(self, key: tuple[int, int]) -> Any:
        os._exit(3)


def same(first: Batch, second: Batch) -> bool:
    columns = ("clips", "labels", "video", "view", "substituted")
    return first.bad == second.bad and all(torch.equal(getattr(first, c), getattr(second, c)) for c in columns)


def good_train_batches(records, epochs: int, lethal: dict[int, str]) -> list[list[Batch]]:
    dataset = TrainClips(records, SAMPLING, seed=3)
    dataset.excluded = lethal
    loader = TrainLoader(dataset, batch=2, seed=3, workers=0)
    return [list(loader.batches(epoch)) for epoch in range(epochs)]


@pytest.mark.slow
def test_a_lethal_video_is_replaced_like_any_bad_video(records, capfd):
    dataset = DyingClips(records, SAMPLING, seed=3)
    dataset.every = records[LETHAL].id
    loader = TrainLoader(dataset, batch=2, seed=3, workers=2)
    expected = good_train_batches(records, 3, {LETHAL: REASON})
    for epoch, batches in enumerate(expected):
        assert all(map(same, loader.batches(epoch), batches))
    loader.close()
    assert dataset.excluded == {LETHAL: REASON}
    bad = {bad for epoch in expected for batch in epoch for bad in batch.bad}
    assert bad == {BadVideo(LETHAL, str(records[LETHAL].path), REASON)}
    error = capfd.readouterr().err
    warnings = [line for line in error.splitlines() if "warning: a loader worker ended" in line]
    assert len(warnings) == 2, error
    assert all("(signal 11, SIGSEGV)" in line and str(records[LETHAL].path) in line for line in warnings)


@pytest.mark.slow
def test_a_worker_killed_from_outside_costs_nothing(records, tmp_path, capfd):
    """Even twice at the same video, which was read in between, so it is not the cause."""
    dataset = DyingClips(records, SAMPLING, seed=3)
    dataset.once = tmp_path / "once"
    loader = TrainLoader(dataset, batch=2, seed=3, workers=2)
    expected = good_train_batches(records, 2, {})
    unlucky = next(v for batch in expected[0][1:] for v in batch.video.tolist() if v not in expected[1][0].video)
    for epoch, batches in enumerate(expected):
        dataset.once.write_text(records[unlucky].id)
        assert all(map(same, loader.batches(epoch, start=1), batches[1:]))
        assert not dataset.once.exists()
    loader.close()
    assert dataset.excluded == {}
    assert (
        capfd.readouterr().err.count("warning: a loader worker ended (signal 9, SIGKILL, possibly out of memory)") == 2
    )


@pytest.mark.slow
@pytest.mark.parametrize("between", [True, False], ids=["between epochs", "within an epoch"])
def test_workers_killed_while_they_wait(records, between):
    loader = TrainLoader(TrainClips(records, SAMPLING, seed=3), batch=2, seed=3, workers=2)
    first, second = good_train_batches(records, 2, {})
    batches = loader.batches(0)
    first_part = list(batches) if between else [next(batches)]
    assert all(map(same, first_part, first))
    for process in worker_processes(loader._loader):
        process.kill()
    if not between:
        assert all(map(same, batches, first[1:]))
    assert all(map(same, loader.batches(1), second))
    loader.close()


@pytest.mark.slow
def test_a_lethal_test_video_is_listed_and_not_replaced(records):
    dataset = DyingVideos(records, SAMPLING, clips=2, crops=1)
    dataset.every = records[LETHAL].id
    loader = TestLoader(dataset, batch_videos=2, workers=2)
    reference = TestVideos(records, SAMPLING, clips=2, crops=1)
    reference.excluded = {LETHAL: REASON}
    expected = list(TestLoader(reference, batch_videos=2, workers=0))
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == len(expected)
        assert all(map(same, batches, expected))
    loader.close()
    assert [bad for batch in expected for bad in batch.bad] == [BadVideo(LETHAL, str(records[LETHAL].path), REASON)]


@pytest.mark.slow
def test_windows_continue_in_the_middle_of_a_video(records, tmp_path):
    """No window is repeated or left out, in this pass and the next; the lethal video has only its first windows."""
    dataset = DyingWindows(records, SAMPLING, hop=0.1, crops=1, at_once=3)
    dataset.every, dataset.once = records[LETHAL].id, tmp_path / "once"
    dataset.once.write_text(records[7].id)
    loader = WindowLoader(dataset, batch=2, workers=2)
    expected = {}
    for batch in WindowLoader(WindowVideos(records, SAMPLING, hop=0.1, crops=1), batch=2, workers=0):
        for video, view, clip in zip(batch.video.tolist(), batch.view.tolist(), batch.clips, strict=True):
            expected[video, view] = clip
    for number in range(2):
        batches = list(loader)
        views = [pair for batch in batches for pair in zip(batch.video.tolist(), batch.view.tolist(), strict=True)]
        assert len(views) == len(set(views))
        good = {key for key in expected if key[0] != LETHAL}
        assert {key for key in views if key[0] != LETHAL} == good
        assert {key[1] for key in views if key[0] == LETHAL} <= {0, 1, 2}
        clips = [clip for batch in batches for clip in batch.clips]
        assert all(torch.equal(clip, expected[key]) for key, clip in zip(views, clips, strict=True))
        assert [bad for batch in batches for bad in batch.bad] == [BadVideo(LETHAL, str(records[LETHAL].path), REASON)]
        assert number or not dataset.once.exists()
    loader.close()


@pytest.mark.slow
def test_a_video_that_timed_out_is_the_cause_and_not_the_next_one(records):
    numbered = [VideoRecord(record.id, record.path, number) for number, record in enumerate(records[3:6], start=3)]
    dataset = LateDyingClips(numbered, SAMPLING, seed=0, reading=Reading(timeout=1.0))
    loader = TrainLoader(dataset, batch=3, seed=0, workers=1, order=in_turn)
    (batch,) = loader.batches(0)
    loader.close()
    reason = f"took longer than 1 s to decode, and then ended its worker process ({exit_description(-9)})"
    assert set(batch.bad) == {BadVideo(1, str(records[LETHAL].path), reason)}
    assert dataset.excluded == {1: reason}


@pytest.mark.slow
def test_a_worker_that_hangs_is_killed(records, monkeypatch):
    monkeypatch.setattr(supervisor, "_GRACE_SECONDS", 0.5)
    dataset = BlockingClips(records, SAMPLING, seed=3, reading=Reading(timeout=0.5))
    loader = TrainLoader(dataset, batch=2, seed=3, workers=2)
    begin = time.monotonic()
    batches = [list(loader.batches(epoch)) for epoch in range(2)]
    loader.close()
    assert time.monotonic() - begin < 40  # it would sleep for 60 seconds
    reason = "took longer than 0.5 s to decode, and blocked its worker process"
    assert dataset.excluded == {LETHAL: reason}
    for given, expected in zip(batches, good_train_batches(records, 2, {LETHAL: reason}), strict=True):
        assert all(map(same, given, expected))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_video_that_takes_too_long_twice_is_not_tried_again(records, tmp_path, workers):
    dataset = HangingClips(records, SAMPLING, seed=3, reading=Reading(timeout=0.3))
    dataset.tries = tmp_path / "tries"
    loader = TrainLoader(dataset, batch=2, seed=3, workers=workers, epochs=8)
    batches = [batch for epoch in range(8) for batch in loader.batches(epoch)]
    loader.close()
    reason = "took longer than 0.3 s to decode"
    assert dataset.excluded == {LETHAL: f"{reason}, twice"}
    tries = dataset.tries.stat().st_size
    assert tries == 2 if workers == 0 else 2 <= tries <= 3  # one may have started already
    reported = [bad.reason for batch in batches for bad in batch.bad]
    assert reported == [reason] * tries + [f"{reason}, twice"] * (len(reported) - tries)
    assert len(reported) > tries
    expected = [batch for epoch in good_train_batches(records, 8, {LETHAL: reason}) for batch in epoch]
    assert all(torch.equal(given.clips, good.clips) for given, good in zip(batches, expected, strict=True))


@pytest.mark.slow
def test_slow_videos_do_not_count_as_a_hang(records, monkeypatch):
    """Each takes less than the timeout, but together they take longer."""
    monkeypatch.setattr(supervisor, "_GRACE_SECONDS", 0.1)
    loader = TrainLoader(SlowClips(records, SAMPLING, seed=3, reading=Reading(timeout=1.5)), batch=6, seed=3, workers=1)
    (batch,) = loader.batches(0)
    loader.close()
    assert batch.bad == ()


def in_turn(*, draws: int, seed: int, epoch: int) -> np.ndarray:
    return np.arange(draws)


@pytest.mark.slow
def test_workers_that_die_without_a_video_stop_the_run(records, monkeypatch):
    monkeypatch.setattr(supervisor, "_DEATHS_IN_A_ROW", 2)
    loader = TrainLoader(DyingElsewhere(records, SAMPLING, seed=0), batch=2, seed=0, workers=1)
    with pytest.raises(InputError, match=r"ended 2 times in a row \(exit code 3\).*memory, or use fewer workers"):
        list(loader.batches(0))
    loader.close()


@pytest.mark.slow
def test_when_every_video_ends_its_worker_the_run_stops(records, monkeypatch):
    monkeypatch.setattr(supervisor, "_DEATHS_OF_A_VIDEO", 1)
    monkeypatch.setattr(supervisor, "_EXCLUDED_IN_A_ROW", 2)
    dataset = DyingVideos([dataclasses.replace(record, id="lethal") for record in records], SAMPLING, clips=1, crops=1)
    dataset.every = "lethal"
    loader = TestLoader(dataset, batch_videos=1, workers=1)
    with pytest.raises(
        InputError, match=r"2 videos in a row ended their worker process; .*SIGSEGV.* Give the run more"
    ):
        list(loader)
    loader.close()


def test_decodes_that_timed_out_and_the_awaited_one():
    decodes = ActiveDecodes(2)
    assert decodes.running(1) == (set(), set())
    with decodes.recorded(1, 5):
        assert decodes.running(1) == (set(), {5})
        assert decodes.running(0) == (set(), set())
        with decodes.recorded(1, 6):  # 5 timed out, and still runs
            assert decodes.running(1) == ({5}, {6})
        assert decodes.running(1) == ({5}, set())
    with decodes.recorded(1, 7):
        assert decodes.running(1) == (set(), {7})
    assert decodes.running(1) == (set(), set())


def test_more_videos_hang_than_can_be_recorded():
    decodes = ActiveDecodes(1)
    hanging = [decodes.recorded(0, video) for video in range(40)]
    for one in hanging:
        one.__enter__()
    timed_out, awaited = decodes.running(0)
    assert {0, 1, 2} <= timed_out
    assert awaited == {39}
    for one in reversed(hanging):
        one.__exit__(None, None, None)
    assert decodes.running(0) == (set(), set())
