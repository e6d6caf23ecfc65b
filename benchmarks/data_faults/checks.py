"""Broken videos in the loaders, in ``videopool train`` and in ``evaluate``, and checks of the outcome."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.data_faults.files import (
    FAULTS,
    MisbehavingTestVideos,
    MisbehavingTrainClips,
    break_files,
    reads_everything,
    reason_fits,
)
from videopool.cli.main import main as videopool_main
from videopool.data.decoding.decode import Reading
from videopool.data.lists.records import read_videos
from videopool.data.loading.loader import TestLoader, TrainLoader
from videopool.data.order import epoch_clips
from videopool.data.sampling import ClipSampling
from videopool.data.synthetic import MOTIONS, write_motion_videos
from videopool.engine.builders import testing, training
from videopool.types import BadVideo, Batch, VideoRecord

SAMPLING = ClipSampling(frames=8, stride=2, scale=(64, 72), crop=56, test_scale=64, test_crop=64)
FPS, SEED, BATCH, CLIPS, WORKERS, TIMEOUT = 14, 0, 8, 2, 2, 3.0
NETWORK = (
    "clip={frames: 8, stride: 2, scale: [64, 72], crop: 56, flip: false}",
    "model.arguments={width: 4, depth: 3}",
    "optim.warmup_epochs=0",
    "train={epochs: 1, batch: 8, evaluate_every: 1, log_every: 1, device: cpu}",
    f"data={{train: train.csv, test: test.csv, workers: {WORKERS}, decode_timeout: {TIMEOUT}, max_bad_fraction: 0.5}}",
    f"evaluate={{clips: {CLIPS}, crops: 1, allow_missing: true}}",
)


@dataclasses.dataclass(frozen=True)
class Split:
    """The training or test videos, whole and broken, and the ``faults`` of the broken ones by number."""

    whole: list[VideoRecord]
    broken: list[VideoRecord]
    faults: dict[int, str]

    @property
    def failing(self) -> set[int]:
        """The numbers of the videos that cannot be decoded."""
        return {video for video, fault in self.faults.items() if FAULTS[fault].fails}


@dataclasses.dataclass(frozen=True)
class LoaderOutput:
    """The output of a loader.

    Attributes:
        shown: the video and a digest of its pixels for each place: index of the epoch, or video and view.
        bad: the videos that failed.
        complete: whether all batches arrived.
        seconds: duration.
    """

    shown: dict[tuple[int, ...], tuple[int, str]]
    bad: tuple[BadVideo, ...]
    complete: bool
    seconds: float


def make_split(folder: Path, name: str, broken: int, faults: Sequence[str]) -> Split:
    """Break ``broken`` random videos of ``folder/whole/name``, with the ``faults`` in turn."""
    whole = list(read_videos(folder / "whole" / name).records)
    chosen = np.random.default_rng(SEED).permutation(len(whole))[:broken]
    by_video = {int(video): faults[place % len(faults)] for place, video in enumerate(chosen)}
    listed = break_files(whole, by_video, folder / "whole", folder / "broken")
    for video, fault in by_video.items():
        if not FAULTS[fault].fails:
            whole[video] = FAULTS[fault].whole(whole[video], whole[video].path, FPS)
    lines = [f"{record.id},{MOTIONS[record.label]},{record.label}" for record in listed]
    (folder / "broken" / f"{name}.csv").write_text("\n".join(["path,label,label_id", *lines]) + "\n", encoding="utf-8")
    return Split(whole, listed, by_video)


def make_splits(folder: Path, train_per_class: int, test_per_class: int, part: float) -> tuple[Split, Split]:
    """Return the training and test splits with a share ``part`` of broken videos, at least one for each fault."""
    numbers = {"train_per_class": train_per_class, "test_per_class": test_per_class}
    write_motion_videos(folder / "whole", size=(96, 80), fps=FPS, **numbers)
    faults = [name for name in FAULTS if name != "permission denied" or not reads_everything(folder)]
    counts = [max(len(faults), round(part * len(MOTIONS) * count)) for count in (train_per_class, test_per_class)]
    return make_split(folder, "train", counts[0], faults), make_split(folder, "test", counts[1], faults)


def restore_vanished(split: Split) -> None:
    """Restore the files that vanished, so that they vanish again in the next run."""
    for video, fault in split.faults.items():
        if fault == "vanished during the run":
            split.broken[video].path.write_bytes(split.whole[video].path.read_bytes())


def train_pass(records: Sequence[VideoRecord]) -> LoaderOutput:
    """Run one epoch."""
    dataset = MisbehavingTrainClips(records, SAMPLING, seed=SEED, reading=Reading(timeout=TIMEOUT))
    loader = TrainLoader(dataset, batch=BATCH, seed=SEED, workers=WORKERS)
    clips = epoch_clips(videos=len(records), clips=loader.steps.count(0) * BATCH, seed=SEED, epoch=0)
    begin = time.perf_counter()
    with contextlib.closing(loader):
        batches = list(loader.batches(0))
    seconds = time.perf_counter() - begin
    places = [(int(index),) for index in clips]
    return _output(places, batches, len(batches) == loader.steps_per_epoch, seconds)


def test_pass(records: Sequence[VideoRecord]) -> LoaderOutput:
    """Run one test."""
    dataset = MisbehavingTestVideos(records, SAMPLING, clips=CLIPS, crops=1, reading=Reading(timeout=TIMEOUT))
    loader = TestLoader(dataset, batch_videos=BATCH, workers=WORKERS)
    begin = time.perf_counter()
    with contextlib.closing(loader):
        batches = list(loader)
    seconds = time.perf_counter() - begin
    places = [place for batch in batches for place in zip(batch.video.tolist(), batch.view.tolist(), strict=True)]
    return _output(places, batches, len(batches) == len(loader), seconds)


def _output(places: list[tuple[int, ...]], batches: list[Batch], complete: bool, seconds: float) -> LoaderOutput:
    rows = [row for batch in batches for row in zip(batch.video.tolist(), batch.clips, strict=True)]
    shown = {
        place: (video, hashlib.sha256(clip.numpy().tobytes()).hexdigest())
        for place, (video, clip) in zip(places, rows, strict=True)
    }
    return LoaderOutput(shown, tuple(bad for batch in batches for bad in batch.bad), complete, seconds)


def train_checks(split: Split, output: LoaderOutput, whole: LoaderOutput) -> dict[str, bool]:
    """Return whether an epoch is as required, by check."""
    replaced = {place[0] for place, (video, _) in output.shown.items() if video != place[0]}
    good = {place: shown for place, shown in whole.shown.items() if place[0] not in split.failing}
    return {
        "training: the epoch is complete": output.complete and output.shown.keys() == whole.shown.keys(),
        "training: the listed failures are the broken files": _listed(split, output.bad),
        "training: exactly their samples are replaced": replaced == split.failing,
        "training: no broken file is shown": split.failing.isdisjoint(video for video, _ in output.shown.values()),
        f"training: {len(good)} other samples are bit-identical": good.items() <= output.shown.items(),
    }


def test_checks(split: Split, output: LoaderOutput, whole: LoaderOutput) -> dict[str, bool]:
    """Return whether a test is as required, by check."""
    good = {place: shown for place, shown in whole.shown.items() if place[0] not in split.failing}
    once = len(output.bad) == len({bad.video for bad in output.bad})
    return {
        "test: it is complete": output.complete,
        "test: the listed failures are the broken files, each once": once and _listed(split, output.bad),
        "test: the broken files are not replaced": output.shown.keys() == good.keys(),
        f"test: {len(good)} views of the others are bit-identical": output.shown == good,
    }


def _listed(split: Split, bad: Sequence[BadVideo]) -> bool:
    """Return whether the failures are those of the broken files, each with its path and its reason."""
    return {one.video for one in bad} == split.failing and all(
        one.path == str(split.broken[one.video].path) and reason_fits(split.faults[one.video], one.reason)
        for one in bad
    )


def run_videopool(*arguments: str) -> int:
    """Run ``videopool`` in this process, with data sets in which some videos misbehave, and return its exit code."""
    with (
        mock.patch.object(training, "TrainClips", MisbehavingTrainClips),
        mock.patch.object(testing, "TestVideos", MisbehavingTestVideos),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        return videopool_main(arguments)


def command_checks(folder: Path, train: Split, test: Split) -> dict[str, bool]:
    """Train and evaluate a small network on the broken files, and return whether that is as required, by check."""
    out = folder / "run"
    config = ["--config", "demo", *NETWORK, f"data.root={folder / 'broken'}", f"out={out}"]
    for split in (train, test):
        restore_vanished(split)
    trained = run_videopool("train", *config)
    restore_vanished(test)
    tested = run_videopool("evaluate", str(out / "checkpoints/last.pt"), f"data.root={folder / 'broken'}")
    failed = [line for line in _lines(out / "bad_videos.jsonl") if line["split"] == "train"]
    unscored = _lines(out / "evaluation/unscored.jsonl")
    return {
        "videopool train exits with 0": trained == 0,
        "bad_videos.jsonl lists the broken training files": _paths(failed) == _failing_paths(train),
        "videopool evaluate exits with 0 (evaluate.allow_missing=true)": tested == 0,
        "unscored.jsonl lists the broken test files": _paths(unscored) == _failing_paths(test),
    }


def _lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _paths(lines: list[dict[str, str]]) -> list[str]:
    return sorted(line["path"] for line in lines)


def _failing_paths(split: Split) -> list[str]:
    return sorted(str(split.broken[video].path) for video in split.failing)
