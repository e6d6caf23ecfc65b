"""Train the same run on 1, 2 and 4 processes, with and without gradient accumulation, and compare the weights.

    python -m benchmarks.world_sizes [--epochs 4] [--to FILE.md]

Every run trains a small C3D (batch norm, dropout, SoftPool, augmentation, mixup) on made-up motions with SGD, and ends
with the same number of steps. One run is stopped by a signal and resumed with other numbers of processes. The table has
the largest difference of a weight from the run of one process, and the L2 norm of all differences relative to the L2
norm of the change that training made. The last row, in which all clips share batch-norm statistics, shows what a real
difference looks like. Where a difference is far above 1e-7, an activation was within rounding of 0 and fell on the
other side of a ReLU.
"""

from __future__ import annotations

import argparse
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

from benchmarks.timing import set_memory, this_machine
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
Part = tuple[int, int, int | None]  # processes, most clips at a time (0: all), the step at which it is stopped
RUNS: dict[str, Sequence[Part]] = {
    "1 x 16": [(1, 0, None)],
    "1 x 16, again": [(1, 0, None)],
    "1 x 4, 4 times": [(1, 4, None)],
    "2 x 8": [(2, 0, None)],
    "2 x 4, twice": [(2, 4, None)],
    "4 x 4": [(4, 0, None)],
    "2 x 8, then 1 x 16, then 4 x 4": [(2, 0, 4), (1, 0, 9), (4, 0, None)],
}


def train(videos: Path, out: Path, part: Part, group: int, epochs: int) -> None:
    """Train a part of a run: to its end, or until it has logged the step at which it is stopped."""
    processes, most, stop = part
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    overrides = [
        f"train={{batch: {BATCH}, batch_per_device: {most}, norm_batch: {group}, epochs: {epochs}, log_every: 1}}",
        f"data.root={videos}", "data.train=train", "data.test=test", f"out={out}", "train.device=cpu", *SETTINGS,
    ]  # fmt: skip
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "videopool.cli.train"]
    running = subprocess.Popen(
        [*command, "--config", "small/c3d", *overrides], env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    if stop is not None:
        while running.poll() is None and logged_steps(out) < stop:
            time.sleep(0.05)
        os.killpg(running.pid, signal.SIGUSR1 if processes == 1 else signal.SIGTERM)
    _, errors = running.communicate()
    if running.returncode and stop is None:
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
    parser.add_argument("--epochs", type=int, default=4, help="epochs of each run, 4 steps each (default: 4)")
    parser.add_argument("--to", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    machine = this_machine(torch.device("cpu"), set_memory("malloc"))
    lines = [
        "# The same run on 1, 2 and 4 processes",
        "",
        f"{datetime.date.today()}, {machine.hardware}, torch {machine.torch}, one thread in each process, float32. "
        f"{BATCH} clips a step, {4 * arguments.epochs} steps, batch-norm groups of {GROUP} clips.",
        "",
        "    python -m benchmarks.world_sizes",
        "",
        "| processes x clips at a time | largest difference of a weight | difference / change by training |",
        "|---|---:|---:|",
    ]
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_motion_videos(folder, train_per_class=8, test_per_class=1, size=(64, 56), frames=24, fps=10, seed=0)
        reference, change = None, 1.0
        cases = [(title, parts, GROUP) for title, parts in RUNS.items()]
        cases.append((f"1 x 16, statistics of {BATCH} clips", [(1, 0, None)], 0))
        for number, (title, parts, group) in enumerate(cases):
            out = folder / f"run-{number}"
            for part in parts:
                train(folder, out, part, group, arguments.epochs)
            found = weights(out)
            if reference is None:
                reference = found
                first = next((folder / "run-0/checkpoints").glob("step-*.pt"))
                start = read_checkpoint(first)["model"]
                change = float(torch.cat([(found[key] - start[key]).flatten() for key in found]).norm())
                continue
            largest, relative = compare(found, reference, change)
            lines.append(f"| {title} | {largest:.1e} | {relative:.1e} |")
            print(lines[-1], flush=True)
    if arguments.to:
        arguments.to.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
