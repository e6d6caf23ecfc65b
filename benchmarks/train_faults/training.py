"""The training in which faults happen: its command, and the comparison of two such trainings."""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.train_faults.run import TrainRun, UnexpectedError
from videopool.data.synthetic import MOTIONS, write_motion_videos
from videopool.engine.checkpoints.files import read_checkpoint

BATCH, VIDEOS_PER_CLASS, STEPS_PER_FAULT, SAVE_EVERY, TIMEOUT = 8, 4, 28, 10, 32
EPOCH = VIDEOS_PER_CLASS * len(MOTIONS) // BATCH
NETWORK = (
    "clip={frames: 4, stride: 2, scale: [32, 36], crop: 32, flip: false}",
    "model.arguments={width: 24, depth: 3}",
    "optim={name: adamw, lr: 2e-3, warmup_epochs: 1, clip_norm: 1.0}",
    f"train={{batch: {BATCH}, norm_batch: 4, evaluate_every: 25, log_every: 1, save_every: {SAVE_EVERY}, keep: 6, "
    f"ema: 0.99, device: cpu, timeout: {TIMEOUT}}}",
    "data.workers=1",
)


def write_videos(folder: Path) -> Path:
    """Write small motion videos."""
    write_motion_videos(folder, train_per_class=VIDEOS_PER_CLASS, test_per_class=1, size=(48, 40), frames=10, fps=10)
    return folder


def copy_videos(given: Path, folder: Path) -> Path:
    """Copy a data set, because faults damage videos for a while."""
    return Path(shutil.copytree(given, folder))


def train_command(videos: Path, out: Path, epochs: int) -> list[str]:
    """Return the arguments of ``videopool train``."""
    places = (f"data.root={videos}", f"out={out}", f"train.epochs={epochs}")
    return ["-m", "videopool.cli.train", "--config", "demo", *NETWORK, *places]


def torchrun(*options: str) -> list[str]:
    """Return the start of a command line of torchrun."""
    return [sys.executable, "-m", "torch.distributed.run", *options]


def environment(temporary: Path) -> dict[str, str]:
    """Return the environment of training processes: one thread each, and their own folder for temporary files."""
    temporary.mkdir(parents=True, exist_ok=True)
    settings = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "TMPDIR": str(temporary), "COLUMNS": "1000"}
    return {**os.environ, **settings}


def finish(run: TrainRun) -> None:
    """Wait for the end of training and of all its processes."""
    run.wait(lambda: run.ended, 1800, "the end of training")
    if any(run.exit_codes()):
        raise UnexpectedError(f"training ended with {run.exit_codes()}: {run.lines[-3:]}")
    run.wait_for_no_process()


def largest_difference(one: Any, other: Any) -> float:
    """Return the largest difference between the numbers of two nested structures; infinity if they do not match."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.shape != other.shape:
            return math.inf
        return 0.0 if torch.equal(one, other) else float((one.double() - other.double()).abs().max())
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((largest_difference(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return max(map(largest_difference, one, other), default=0.0)
    return 0.0 if one == other else math.inf


def compare_runs(faulty: Path, whole: Path) -> dict[str, float]:
    """Return the largest difference between the final checkpoints of two runs, by part."""
    one, other = (read_checkpoint(out / "checkpoints/last.pt") for out in (faulty, whole))
    parts = ("step", "model", "averaged", "optimizer", "best")
    return {part: largest_difference(one[part], other[part]) for part in parts}


def compare_losses(faulty: Path, whole: Path) -> tuple[int, int]:
    """Return how many steps both logs have, and in how many of them loss or gradient norm differ."""
    one, other = (_losses(out / "log.jsonl") for out in (faulty, whole))
    common = one.keys() & other.keys()
    return len(common), sum(one[step] != other[step] for step in common)


def _losses(path: Path) -> dict[int, tuple[float, ...]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {line["step"]: (line["loss"], line.get("grad_norm", 0.0)) for line in lines}


def leftovers(folder: Path) -> list[str]:
    """Return the temporary files in a run folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if ".tmp" in path.name)


def compare_loss_curves(changed: Path, whole: Path, first: int) -> tuple[float, float, float]:
    """Return the largest relative difference of the loss in the steps 1 to ``first``, and the mean of its last 100."""
    one, other = (_losses(out / "log.jsonl") for out in (changed, whole))
    early = [abs(one[step][0] / other[step][0] - 1) for step in one if step <= first and step in other]
    return max(early), _last_loss(one), _last_loss(other)


def _last_loss(losses: dict[int, tuple[float, ...]]) -> float:
    return statistics.fmean(loss for _, (loss, *_) in sorted(losses.items())[-100:])
