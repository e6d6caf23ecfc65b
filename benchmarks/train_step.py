"""Time a step of the trainer beside a loop written by hand, on the same network and the same clips in memory.

    python -m benchmarks.train_step [--device cuda] [--rounds 40] [--to FILE.md]

Both take turns in one process, each with its own copy of the network. The trainer does what it does in a run, without
the loader: augmentation (off), gradient norm, the check for values that are not finite, logging every 10 steps, the
requests to stop, and the decisions to validate and to save. The loop by hand normalizes the clips, and then runs
forward pass, loss, backward pass and optimizer.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import itertools
import sys
import tempfile
from collections.abc import Hashable
from pathlib import Path

import torch
from torch.nn import functional

if __name__ == "__main__":  # videopool benchmark runs this file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import (
    Run,
    add_page_argument,
    cpu_clock,
    set_memory,
    spread,
    this_machine,
    time_undisturbed,
    write_page,
)
from videopool.config import load
from videopool.data.synthetic import write_motion_videos
from videopool.engine import StopRequest, Trainer, TrainingRun, World, build_training
from videopool.types import Batch

SMALL = "clip={frames: 8, crop: 64, scale: [64, 72]}"
NETWORKS = {
    "c3d, width 16": ["model={name: c3d, arguments: {width: 16, depth: 4}}", SMALL],
    "r2plus1d, 14 layers": [
        "model={name: r2plus1d, pooling_sites: [shortcut], arguments: {depth: 14, width: 16}}",
        SMALL,
    ],
    "x3d": ["model={name: x3d, pooling_sites: [shortcut]}", "clip={frames: 4, crop: 96, scale: [96, 112]}"],
}
CASES = {
    "one forward pass": ["train.batch=8"],
    "2 forward passes": ["train.batch=8", "train.batch_per_device=4"],
    "clip_norm, EMA": ["train.batch=8", "optim.clip_norm=1", "train.ema=0.999"],
}


FIXED = [
    "data.workers=0", "model.pooling=soft", "model.dropout=0.5", "optim={name: sgd, lr: 0.01}",
    "train={epochs: 100000, evaluate_every: 0, save_every: 100000000}",
]  # fmt: skip


def build(videos: Path, out: Path, overrides: list[str], device: torch.device, stop: StopRequest) -> TrainingRun:
    """Return a run of a network and a case."""
    config = load(None, [f"data.root={videos}", f"out={out}", *FIXED, *overrides])
    return build_training(config, World(0, 1, device), stop)


def step_of_trainer(trainer: Trainer, parts: list[Batch], device: torch.device, turn: int) -> None:
    """Do what the trainer does in a step, except loading."""
    trainer.update_weights(parts)
    trainer.log_step()
    trainer.stop_step()
    trainer.save_step(trainer.evaluate_step())
    wait_for(device)


def step_by_hand(trainer: Trainer, parts: list[Batch], device: torch.device, turn: int) -> None:
    """Do a step of a loop without a trainer, with the network and the optimizer of ``trainer``."""
    trainer.optimizer.zero_grad(set_to_none=True)
    for part in parts:
        logits = trainer.model(trainer.update.preprocess(part.clips))
        loss = functional.cross_entropy(logits, part.labels) / len(parts)
        loss.backward()
    trainer.optimizer.step()
    wait_for(device)


def wait_for(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(videos: Path, network: str, case: str, device: torch.device, rounds: int) -> str:
    """Return a row of the table."""
    overrides = [*NETWORKS[network], *CASES[case]]
    with tempfile.TemporaryDirectory() as folder, StopRequest() as stop, contextlib.ExitStack() as logs:
        built = {name: build(videos, Path(folder, name), overrides, device, stop) for name in ("trainer", "by hand")}
        first = built["trainer"].trainer
        passes = first.update.split.passes
        parts = [batch.to(device) for batch in itertools.islice(first.loader.batches(0), passes)]
        runs: dict[Hashable, Run] = {}
        for (name, run), step in zip(built.items(), (step_of_trainer, step_by_hand), strict=True):
            run.trainer.model.train()
            logs.enter_context(run.trainer.log)
            runs[name] = functools.partial(step, run.trainer, parts, device)
        times, others = time_undisturbed(runs, cpu_clock, rounds=rounds, seconds=0, warm_up=3)
        for run in built.values():
            run.close()
    trained, bare = spread(times["trainer"]), spread(times["by hand"])
    ratios = spread([one / two for one, two in zip(times["trainer"], times["by hand"], strict=True)])
    return (
        f"| {network} | {case} | {bare.median_ms:.1f} | {trained.median_ms:.1f} | {ratios.median_ms:.3f} | "
        f"{ratios.low_ms:.3f} to {ratios.high_ms:.3f} | {100 * others:.0f} % |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--rounds", type=int, default=40, help="steps of each loop (default: 40)")
    add_page_argument(parser)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    machine = this_machine(device, set_memory("malloc"))
    lines = [
        "# Cost of the trainer: a step beside a loop written by hand",
        "",
        f"{datetime.date.today()}, {machine.hardware}, {machine.threads} thread(s), torch {machine.torch}. 8 clips a "
        f"step in memory, {arguments.rounds} steps of each loop in turns; ratios of neighboring steps, median and "
        "quartiles.",
        "",
        "    python -m benchmarks.train_step",
        "",
        "| network | case | by hand ms | trainer ms | ratio | quartiles | other processes |",
        "|---|---|---:|---:|---:|---|---:|",
    ]
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder)
        write_motion_videos(videos, train_per_class=2, test_per_class=1, size=(128, 112), frames=40, fps=10, seed=0)
        for network in NETWORKS:
            for case in CASES:
                lines.append(measure(videos, network, case, device, arguments.rounds))
                print(lines[-1], flush=True)
    write_page(lines, arguments.to)


if __name__ == "__main__":
    main()
