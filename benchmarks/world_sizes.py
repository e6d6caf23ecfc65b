"""Train the same run on 1, 2 and 4 processes, with and without gradient accumulation, and compare the weights.

    python -m benchmarks.world_sizes [--epochs 4] [--lists TRAIN TEST] [--to FILE.md]

Every run trains a small C3D (batch norm, dropout, SoftPool, augmentation, mixup) with SGD, on made-up motions or given
lists, and ends with the same number of steps. Some runs are stopped by a signal or killed, and resumed with other
numbers of processes. The table has the largest difference of a weight from the run of one process, and the L2 norm of
all differences relative to the L2 norm of the change that training made. The last row, in which all clips share
batch-norm statistics, shows what a real difference looks like. Where a difference is far above 1e-7, an activation was
within rounding of 0 and fell on the other side of a ReLU.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.timing import add_page_argument, set_memory, this_machine, write_page
from videopool.data.synthetic import write_motion_videos
from videopool.engine import read_checkpoint

BATCH, GROUP = 16, 4
SETTINGS = [
    "clip={frames: 8, stride: 2, scale: [52, 60], crop: 48, flip: false}",
    "model={name: c3d, pooling: soft, dropout: 0.5, arguments: {width: 8, depth: 3}}",
    "optim={name: sgd, lr: 0.02, warmup_epochs: 1}",
    "augment={color: {brightness: 0.4}, erase: 0.25, mixup: 0.4}",
    "data.workers=1",
]


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a run.

    Attributes:
        processes: that share the batch.
        most: clips that each computes at a time; 0: all.
        end: the share of all steps after which it gets ``signal``; 1: it trains to the end.
        signal: that ends it.
    """

    processes: int
    most: int = 0
    end: float = 1.0
    signal: signal.Signals = signal.SIGTERM


KILLED = signal.SIGKILL
RUNS: dict[str, Sequence[Part]] = {
    "1 x 16": [Part(1)],
    "1 x 16, again": [Part(1)],
    "1 x 4, 4 times": [Part(1, 4)],
    "2 x 8": [Part(2)],
    "2 x 4, twice": [Part(2, 4)],
    "4 x 4": [Part(4)],
    "2 x 8, stopped, 1 x 16, stopped, 4 x 4": [Part(2, end=0.25), Part(1, end=0.5), Part(4)],
    "2 x 8, killed, 2 x 8, killed, 1 x 16": [Part(2, end=0.3, signal=KILLED), Part(2, end=0.6, signal=KILLED), Part(1)],
}


def train(data: Sequence[str], out: Path, part: Part, group: int, epochs: int, steps: int) -> None:
    """Train a part of a run of ``steps`` steps: to its end, or until it has logged the step at which it is stopped."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(part.processes)]
    overrides = [
        f"train={{batch: {BATCH}, batch_per_device: {part.most}, norm_batch: {group}, epochs: {epochs}, log_every: 1}}",
        *data, f"out={out}", "train.device=cpu", "train.save_every=2", "train.keep=1000", *SETTINGS,
    ]  # fmt: skip
    command = [sys.executable, *(launcher if part.processes > 1 else []), "-m", "videopool.cli.train"]
    running = subprocess.Popen(
        [*command, "--config", "small/c3d", *overrides], env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    if part.end < 1:
        while running.poll() is None and logged_steps(out) < part.end * steps:
            time.sleep(0.05)
        if running.poll() is None:
            os.killpg(running.pid, part.signal)
            running.communicate()
            return
    _, errors = running.communicate()
    if running.returncode:
        raise SystemExit(f"{part}: exit code {running.returncode}\n{errors}")


def logged_steps(out: Path) -> int:
    """Return how many steps the log of a run has."""
    log = out / "log.jsonl"
    return len(log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0


def weights(out: Path) -> dict[str, torch.Tensor]:
    """Return the weights and statistics of the last checkpoint."""
    state = read_checkpoint(out / "checkpoints/last.pt")["model"]
    return {name: value.double() for name, value in state.items() if value.is_floating_point()}


def compare(found: dict[str, torch.Tensor], reference: dict[str, torch.Tensor], change: float) -> tuple[float, float]:
    """Return the largest difference, and the L2 norm of all relative to ``change``."""
    differences = torch.cat([(found[name] - reference[name]).flatten() for name in reference])
    return float(differences.abs().max()), float(differences.norm()) / change


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--epochs", type=int, default=4, help="epochs of each run (default: 4)")
    parser.add_argument(
        "--lists", nargs=2, metavar=("TRAIN", "TEST"), help="lists of videos (default: made-up motions)"
    )
    parser.add_argument("--only", action="append", help="only the runs whose names contain this text")
    add_page_argument(parser)
    arguments = parser.parse_args()
    machine = this_machine(torch.device("cpu"), set_memory("malloc"))
    lines = [
        "# The same run on 1, 2 and 4 processes",
        "",
        f"{datetime.date.today()}, {machine.hardware}, torch {machine.torch}, one thread in each process, float32. "
        f"{BATCH} clips a step, batch-norm groups of {GROUP} clips.",
        "",
        "    python -m benchmarks.world_sizes" + (" --lists TRAIN TEST" if arguments.lists else ""),
        "",
        "| processes x clips at a time | largest difference of a weight | difference / change by training |",
        "|---|---:|---:|",
    ]
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.lists:
            data = [
                "data.root=",
                *(
                    f"data.{name}={Path(path).resolve()}"
                    for name, path in zip(("train", "test"), arguments.lists, strict=True)
                ),
            ]
        else:
            write_motion_videos(folder, train_per_class=8, test_per_class=1, size=(64, 56), frames=24, fps=10, seed=0)
            data = [f"data.root={folder}", "data.train=train", "data.test=test"]
        reference, change, steps = None, 1.0, 0
        cases = [(title, parts, GROUP) for title, parts in RUNS.items()]
        cases.append((f"1 x 16, statistics of {BATCH} clips", [Part(1)], 0))
        if arguments.only:
            cases = [case for case in cases if case[0] == "1 x 16" or any(text in case[0] for text in arguments.only)]
        for number, (title, parts, group) in enumerate(cases):
            out = folder / f"run-{number}"
            for part in parts:
                train(data, out, part, group, arguments.epochs, steps)
            found = weights(out)
            if reference is None:
                reference, steps = found, logged_steps(out)
                start = read_checkpoint(out / "checkpoints/step-0000002.pt")["model"]
                change = float(torch.cat([(found[key] - start[key]).flatten() for key in found]).norm())
                print(f"{steps} steps")
                continue
            largest, relative = compare(found, reference, change)
            lines.append(f"| {title} | {largest:.1e} | {relative:.1e} |")
            print(lines[-1], flush=True)
    write_page(lines, arguments.to)


if __name__ == "__main__":
    main()
