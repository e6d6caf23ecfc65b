"""``videopool benchmark``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

SUMMARY = "Time pooling, loading, training steps or exported networks, or plan a training."
EXAMPLES = """examples:
  videopool benchmark ops --help
  videopool benchmark loader --config small/c3d data.root=my_videos --step-seconds 0.25
  videopool benchmark infer runs/mine/checkpoints/last.pt --to infer.md
  videopool benchmark plan --help

ops: time SoftPool and torch's pooling on shapes of common networks. loader: show how long each stage of loading takes,
and what would make it faster. train: time the trainer's step beside a loop written by hand. infer: time a checkpoint in
all of its exported forms. plan: compute the cores, bandwidth and days that a training on a cluster needs.
"""
INTERLEAVED = False
SUBJECTS = {
    "ops": "pooling.py",
    "loader": "loader.py",
    "train": "train_step.py",
    "infer": "infer.py",
    "plan": "plan.py",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool benchmark``."""
    parser.add_argument("subject", choices=SUBJECTS)
    options = "options of the subject; ops --help shows those of ops"
    parser.add_argument("options", nargs=argparse.REMAINDER, help=options).required = False


def run(arguments: argparse.Namespace) -> int:
    """Run the script of the subject in a separate process, whose threads have torch's default settings."""
    command = [sys.executable, str(_folder() / SUBJECTS[arguments.subject]), *arguments.options]
    return subprocess.run(command).returncode


def _folder() -> Path:
    """Return the folder of the scripts: bundled with the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    bundled = package / "bundled" / "benchmarks"
    return bundled if bundled.is_dir() else package.parent / "benchmarks"
