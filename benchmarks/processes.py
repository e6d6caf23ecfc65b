"""Compare the clips per second of one and of several training processes, each with one thread.

    python -m benchmarks.processes [--processes 2] [--rounds 5] [--steps 40] [--to FILE.md]

Every process computes 8 clips a step, so N processes do N times the work of one: an efficiency of 1 means that they
take the same time. Runs of one and of N processes take turns. The split of a step shows where the time goes:
``compute`` grows if the processes wait for the same memory, ``communication`` is what averaging the gradients adds.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.timing import OtherWork, add_page_argument, set_memory, spread, this_machine, write_page
from videopool.data.synthetic import write_motion_videos

NETWORKS = {
    "c3d, width 16": "model={name: c3d, arguments: {width: 16, depth: 4}}",
    "r2plus1d, depth 14": "model={name: r2plus1d, pooling_sites: [shortcut], arguments: {depth: 14, width: 16}}",
}
PER_PROCESS = 8
PARTS = ("data", "compute", "optimizer", "communication")


def train(videos: Path, out: Path, network: str, processes: int, steps: int) -> dict[str, float]:
    """Train and return the medians of the logged steps after the first quarter."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    overrides = [
        f"train={{batch: {PER_PROCESS * processes}, norm_batch: {PER_PROCESS}, epochs: 1, evaluate_every: 0}}",
        "train.log_every=1", "train.save_every=1000000", "train.device=cpu", "train.trackers=[]",
        "optim.warmup_epochs=0",
        f"train.clips_per_video={PER_PROCESS}", f"data.root={videos}", "data.train=train", "data.test=test",
        "data.workers=0", "clip={frames: 8, stride: 1, scale: [64, 64], crop: 64}", NETWORKS[network], f"out={out}",
    ]  # fmt: skip
    command = [
        sys.executable,
        *(launcher if processes > 1 else []),
        "-m",
        "videopool.cli.train",
        "--config",
        "small/c3d",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *overrides], env=environment, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()][:steps]
    late = lines[len(lines) // 4 :]
    return {name: statistics.median(line[name] for line in late) for name in late[0] if name.endswith("_seconds")}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--processes", type=int, default=2, help="(default: 2)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind (default: 5)")
    parser.add_argument("--steps", type=int, default=40, help="steps of a run (default: 40)")
    add_page_argument(parser)
    arguments = parser.parse_args()
    machine = this_machine(torch.device("cpu"), set_memory("malloc"))
    lines = [
        f"# One process and {arguments.processes}, each with one thread",
        "",
        f"{datetime.date.today()}, {machine.hardware}, torch {machine.torch}. {PER_PROCESS} clips of 8 x 64 x 64 in "
        f"each process, decoded in the training process; {arguments.rounds} runs of each kind in turns, medians. Times "
        "of a step in milliseconds. Efficiency: the time of a step without data of one process, over that of several.",
        "",
        "    python -m benchmarks.processes",
        "",
        "| network | processes | " + " | ".join(PARTS) + " | efficiency | quartiles | other processes |",
        "|---|---:|" + "---:|" * (len(PARTS) + 1) + "---|---:|",
    ]
    print("\n".join(lines))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        per_class = max(1, arguments.steps * arguments.processes // 8)
        write_motion_videos(
            folder, train_per_class=per_class, test_per_class=1, size=(72, 64), frames=12, fps=10, seed=0
        )
        for network in NETWORKS:
            lines += measure(folder, network, arguments)
            print("\n".join(lines[-2:]), flush=True)
    write_page(lines, arguments.to)


def measure(folder: Path, network: str, arguments: argparse.Namespace) -> list[str]:
    """Return the rows of a network."""
    found: dict[int, list[dict[str, float]]] = {1: [], arguments.processes: []}
    others = OtherWork()
    for number in range(arguments.rounds):
        order = list(found) if number % 2 else list(found)[::-1]
        for processes in order:
            out = folder / f"{network}-{number}-{processes}"
            found[processes].append(train(folder, out, network, processes, arguments.steps))
    work = {count: [run["step_seconds"] - run["data_seconds"] for run in runs] for count, runs in found.items()}
    ratios = spread([one / several for one, several in zip(work[1], work[arguments.processes], strict=True)])
    rows = []
    for count, runs in found.items():
        cells = [f"{1e3 * statistics.median(run[f'{part}_seconds'] for run in runs):.1f}" for part in PARTS]
        efficiency = (
            ["1.00", ""] if count == 1 else [f"{ratios.median_ms:.2f}", f"{ratios.low_ms:.2f} to {ratios.high_ms:.2f}"]
        )
        rows.append(
            f"| {network} | {count} | " + " | ".join([*cells, *efficiency, f"{100 * others.share():.0f} %"]) + " |"
        )
    return rows


if __name__ == "__main__":
    main()
