"""``videopool demo``."""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "Write a small video dataset, then train, evaluate and export a SoftPool 3D CNN."
EXAMPLES = """examples:
  videopool demo
  videopool demo --to elsewhere train.epochs=2

The demo takes a few minutes on two cores.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool demo``."""
    from videopool.cli.parsing import add_overrides

    parser.add_argument(
        "--to",
        type=Path,
        default=Path("runs/demo"),
        metavar="FOLDER",
        help="folder for everything (default: runs/demo)",
    )
    add_overrides(parser, "train.epochs=2")


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommands of the demo one after another."""
    from videopool.cli.main import main

    folder = arguments.to
    write_videos(folder / "videos", train=40, test=10, seed=0)
    settings = [f"out={folder}", f"data.root={folder / 'videos'}", *arguments.overrides]
    last = str(folder / "checkpoints/last.pt")
    for command in (["train", "--config", "demo", *settings], ["evaluate", last], ["export", last]):
        code = main(command)
        if code:
            return code
    print(f"""
Everything is in {folder}/:
  videos/                   the dataset: train/CLASS/*.mp4 and test/CLASS/*.mp4
  checkpoints/last.pt       the trained network: videopool predict {last} VIDEO
  evaluation/metrics.json   clip-level and video-level accuracy, per class, confusion matrix
  export/                   model.safetensors, program.pt2, classes and preprocessing
  log.jsonl, tensorboard/   the training curves: tensorboard --logdir {folder}""")
    return 0


def write_videos(folder: Path, *, train: int, test: int, seed: int) -> None:
    """Write the demo's dataset, ``train`` and ``test`` videos of each class, with a progress bar."""
    from videopool.console import progress_bar
    from videopool.data.synthetic import MOTIONS, write_motion_videos

    total = len(MOTIONS) * (train + test)
    with progress_bar() as progress:
        task = progress.add_task("writing videos", total=total)
        write_motion_videos(
            folder,
            train_per_class=train,
            test_per_class=test,
            seed=seed,
            progress=lambda done, total: progress.update(task, completed=done),
        )
    print(f"{total} videos, classes {', '.join(MOTIONS)}: {folder}")
