"""Measure accuracy and time of a configuration over several seeds, with videopool train and videopool evaluate.

python benchmarks/accuracy.py --config weizmann/c3d_soft --seeds 0 1 2 --to results.md data.root=DIR
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import add_page_argument, processor_name, write_page


class SeedResult(NamedTuple):
    """The metrics of one seed, and the seconds of training and evaluation, start-up included."""

    seed: int
    metrics: dict
    train_seconds: float
    test_seconds: float


def main(arguments: argparse.Namespace) -> None:
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            results.append(run_seed(arguments.config, arguments.overrides, seed, Path(folder) / str(seed)))
            print(f"seed {seed}: video top-1 {results[-1].metrics['video_top1']:.4f}", flush=True)
    text = report(arguments, results)
    print(text)
    write_page([text], arguments.to)


def run_seed(config: str, overrides: list[str], seed: int, out: Path) -> SeedResult:
    """Train and evaluate with one seed."""
    start = time.perf_counter()
    run_videopool("train", "--config", config, *overrides, f"train.seed={seed}", f"out={out}")
    trained = time.perf_counter()
    run_videopool("evaluate", out / "checkpoints/last.pt")
    metrics = json.loads((out / "evaluation/metrics.json").read_text())
    return SeedResult(seed, metrics, trained - start, time.perf_counter() - trained)


def run_videopool(*arguments: object) -> None:
    """Run ``videopool`` with these arguments; raise an error if it fails."""
    command = [sys.executable, "-m", "videopool", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def report(arguments: argparse.Namespace, results: list[SeedResult]) -> str:
    """Return the results as Markdown."""
    tops = [result.metrics["video_top1"] for result in results]
    # The location of the data on this machine is of no use to a reader.
    shown = [item.partition("=")[0] + "=DIR" if item.startswith("data.root=") else item for item in arguments.overrides]
    lines = [
        f"# {arguments.config}: accuracy over {len(results)} seeds",
        "",
        f"{processor_name()}, {os.cpu_count()} cores, torch {torch.__version__}. Checkpoint: last.pt, not best.pt.",
        "",
        f"    python benchmarks/accuracy.py --config {arguments.config} --seeds {' '.join(map(str, arguments.seeds))} "
        + " ".join(shown),
        "",
        "| seed | video top-1 | correct | clip top-1 | mean class | training | testing |",
        "|---|---|---|---|---|---|---|",
        *(row(result) for result in results),
        "",
        f"Video-level top-1: mean {statistics.mean(tops):.4f}, standard deviation "
        f"{statistics.stdev(tops) if len(tops) > 1 else 0:.4f}.",
    ]
    return "\n".join(lines) + "\n"


def row(result: SeedResult) -> str:
    """Return the row of one seed."""
    metrics = result.metrics
    correct, videos = round(metrics["video_top1"] * metrics["videos"]), metrics["videos"]
    figures = f"{metrics['video_top1']:.4f} | {correct} of {videos} | {metrics['clip_top1']:.4f}"
    times = f"{result.train_seconds:.0f} s | {result.test_seconds:.0f} s"
    return f"| {result.seed} | {figures} | {metrics['mean_class_accuracy']:.4f} | {times} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file, or the name of a shipped configuration")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add_page_argument(parser)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="keys to change")
    main(parser.parse_intermixed_args())
