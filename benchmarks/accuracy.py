"""Accuracy and time of a configuration over seeds: trains and tests with the tools a user runs, one seed after another.

python benchmarks/accuracy.py --config configs/weizmann/c3d_soft.yaml --seeds 0 1 2 --to results.md data.root=DIR
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).resolve().parents[1]


class Result(NamedTuple):
    """One seed: metrics of its evaluation, seconds of training (start-up included) and of evaluation."""

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
    if arguments.to:
        arguments.to.write_text(text, encoding="utf-8")


def run_seed(config: Path, overrides: list[str], seed: int, out: Path) -> Result:
    start = time.perf_counter()
    run("train.py", "--config", config, *overrides, f"train.seed={seed}", f"out={out}")
    trained = time.perf_counter()
    run("evaluate.py", out / "checkpoints/last.pt")
    metrics = json.loads((out / "evaluation/metrics.json").read_text())
    return Result(seed, metrics, trained - start, time.perf_counter() - trained)


def run(tool: str, *arguments: object) -> None:
    command = [sys.executable, str(ROOT / "tools" / tool), *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def report(arguments: argparse.Namespace, results: list[Result]) -> str:
    tops = [result.metrics["video_top1"] for result in results]
    # Where the data lies on this machine says nothing to a reader.
    shown = [item.partition("=")[0] + "=DIR" if item.startswith("data.root=") else item for item in arguments.overrides]
    lines = [
        f"# {arguments.config}: accuracy over {len(results)} seeds",
        "",
        f"{processor()}, {os.cpu_count()} cores, torch {torch.__version__}. Checkpoint: the last, not the best.",
        "",
        f"    python benchmarks/accuracy.py --config {arguments.config} --seeds {' '.join(map(str, arguments.seeds))} "
        + " ".join(shown),
        "",
        "| seed | video top-1 | right | clip top-1 | mean class | training | testing |",
        "|---|---|---|---|---|---|---|",
        *(row(result) for result in results),
        "",
        f"Video-level top-1: mean {statistics.mean(tops):.4f}, standard deviation "
        f"{statistics.stdev(tops) if len(tops) > 1 else 0:.4f}.",
    ]
    return "\n".join(lines) + "\n"


def row(result: Result) -> str:
    metrics = result.metrics
    right, videos = round(metrics["video_top1"] * metrics["videos"]), metrics["videos"]
    figures = f"{metrics['video_top1']:.4f} | {right} of {videos} | {metrics['clip_top1']:.4f}"
    times = f"{result.train_seconds:.0f} s | {result.test_seconds:.0f} s"
    return f"| {result.seed} | {figures} | {metrics['mean_class_accuracy']:.4f} | {times} |"


def processor() -> str:
    cpu = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--to", type=Path, help="Markdown file to write")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    main(parser.parse_intermixed_args())
