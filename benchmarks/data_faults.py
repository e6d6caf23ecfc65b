"""Check that broken files stop neither training nor testing, and change no samples but their own.

    python -m benchmarks.data_faults [--videos N] [--folder FOLDER] [--to FILE.md]

The script writes real H.264 videos and breaks 10 % of the training and of the test files in twelve ways (nine leave
nothing to decode, three are unusual but readable). It runs an epoch of ``TrainLoader`` and a test of ``TestLoader`` on
whole and on broken files and compares them; then it runs videopool train and videopool evaluate on the broken files. It
exits with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import ctypes
import dataclasses
import datetime
import hashlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from benchmarks.data_faults_files import (
    FAULTS,
    MisbehavingTestVideos,
    MisbehavingTrainClips,
    break_files,
    reads_everything,
    reason_fits,
)
from benchmarks.timing import add_page_argument, this_machine, write_page
from videopool.cli.main import main as videopool_main
from videopool.data.decoding.decode import Reading
from videopool.data.lists.records import read_videos
from videopool.data.loading.loader import TestLoader, TrainLoader
from videopool.data.order import epoch_clips
from videopool.data.sampling import ClipSampling
from videopool.data.synthetic import MOTIONS, write_motion_videos
from videopool.engine.builders import testing, training
from videopool.errors import InputError
from videopool.files import strip_local_paths
from videopool.report.tables import Row, markdown
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


# --- the videos ----------------------------------------------------------------------------------------------------


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


# --- the loaders ---------------------------------------------------------------------------------------------------


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


# --- the commands --------------------------------------------------------------------------------------------------


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


# --- the report ----------------------------------------------------------------------------------------------------


def fault_rows(train: Split, test: Split, trained: LoaderOutput, tested: LoaderOutput, folder: Path) -> list[Row]:
    """Return a row for each fault: the numbers of files and their outcomes."""
    return [
        {
            "fault": fault,
            "files, training": list(train.faults.values()).count(fault),
            "files, test": list(test.faults.values()).count(fault),
            "in training": _outcome(train, trained, fault, "replaced"),
            "in the test": _outcome(test, tested, fault, "unscored"),
            "reason": _reason(train, trained, fault, folder),
        }
        for fault in FAULTS
    ]


def _outcome(split: Split, output: LoaderOutput, fault: str, word: str) -> str:
    failed = {bad.video for bad in output.bad}
    counts = collections.Counter(
        word if video in failed else "read" for video, its_fault in split.faults.items() if its_fault == fault
    )
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "not tried"


def _reason(split: Split, output: LoaderOutput, fault: str, folder: Path) -> str:
    reasons = {strip_local_paths(bad.reason, folder) for bad in output.bad if split.faults.get(bad.video) == fault}
    return "; ".join(sorted(reasons)) or "-"


def page(rows: list[Row], checks: dict[str, bool], seconds: dict[str, tuple[float, float]], about: str) -> str:
    """Return the results as Markdown."""
    times = [
        {"pass": name, "without broken files, s": f"{whole:.1f}", "with them, s": f"{broken:.1f}"}
        for name, (whole, broken) in seconds.items()
    ]
    verdicts: list[Row] = [{"check": check, "holds": "yes" if holds else "**NO**"} for check, holds in checks.items()]
    untried = [
        f"Not tried: {row['fault']}, because this user may read every file."
        for row in rows
        if not row["files, training"]
    ]
    return "\n".join(
        [
            f"# Broken files, {this_machine(torch.device('cpu'), 'malloc').hardware}, {os.cpu_count()} cores",
            "",
            about,
            "",
            markdown(rows, list(rows[0])),
            "",
            "A vanishing file is deleted just before it is opened. The script makes the decoder hang at some files and "
            "kill its process at others (as the system does when memory runs out). If the superuser runs the script, "
            "it gives up the right to read files without permission.",
            "",
            *untried,
            "The last three faults are unusual files that can be read. A single frame fills a whole clip, a file that "
            "was cut without decoding starts at its first displayed frame and not at the keyframe before it, and the "
            "suffix of a file does not matter. Their samples must be bit-identical to those of a span of the whole "
            "file.",
            "",
            markdown(verdicts, ["check", "holds"]),
            "",
            "Times are approximate, because other work shared the machine. A video that kills its worker is tried "
            "twice and costs two restarts, each with half a second until the dead worker is noticed. A hanging video "
            f"costs its worker data.decode_timeout, here {TIMEOUT:g} s, each time that it is drawn.",
            "",
            markdown(times, list(times[0])),
            "",
        ]
    )


def measure(folder: Path, train_per_class: int, test_per_class: int, part: float, about: str) -> tuple[str, bool]:
    """Return the report, and whether every check holds."""
    train, test = make_splits(folder, train_per_class, test_per_class, part)
    train_whole, test_whole = train_pass(train.whole), test_pass(test.whole)
    trained, tested = train_pass(train.broken), test_pass(test.broken)
    checks = {**train_checks(train, trained, train_whole), **test_checks(test, tested, test_whole)}
    checks |= command_checks(folder, train, test)
    seconds = {
        f"an epoch of {len(train.whole)} clips": (train_whole.seconds, trained.seconds),
        f"a test of {len(test.whole)} videos": (test_whole.seconds, tested.seconds),
    }
    return page(fault_rows(train, test, trained, tested, folder), checks, seconds, about), all(checks.values())


def obey_permissions() -> None:
    """If the superuser runs this command, start it again without the right to read files without permission."""
    marker = "DATA_FAULTS_AGAIN"
    with tempfile.TemporaryDirectory() as folder:
        if marker in os.environ or not reads_everything(Path(folder)):
            return
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP, in effect after exec
    os.environ[marker] = "1"
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks.data_faults", *sys.argv[1:]])


@contextlib.contextmanager
def chosen_folder(folder: Path | None) -> Iterator[Path]:
    """Return ``folder``, which must be new or empty, or a temporary one."""
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise InputError(f"--folder {folder} is not empty; give a new one")
    yield folder.resolve()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--videos", type=int, default=360, help="videos, two thirds of them for training (360)")
    parser.add_argument("--folder", type=Path, help="folder for the videos and the run (a temporary one)")
    add_page_argument(parser)
    arguments = parser.parse_args()
    obey_permissions()
    test_per_class = max(2, arguments.videos // (3 * len(MOTIONS)))
    about = (
        f"    python -m benchmarks.data_faults --videos {arguments.videos}\n\n{datetime.date.today().isoformat()}, "
        f"torch {torch.__version__}, {WORKERS} workers, load average {os.getloadavg()[0]:.1f} at the start."
    )
    try:
        with chosen_folder(arguments.folder) as folder:
            text, holds = measure(folder, 2 * test_per_class, test_per_class, 0.1, about)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text)
    write_page([text], arguments.to)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
