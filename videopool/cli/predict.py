"""``videopool predict``."""

from __future__ import annotations

import argparse
from pathlib import Path

from videopool.cli.evaluate import UNUSED
from videopool.cli.parsing import positive, refuse_unused
from videopool.errors import InputError

SUMMARY = "Classify videos with a checkpoint or an exported network."
EXAMPLES = """examples:
  videopool predict runs/mine/checkpoints/best.pt video.mp4 other.mp4
  videopool predict runs/mine/export/program.pt2 video.mp4 --top 3
  videopool predict runs/mine/checkpoints/best.pt video.mp4 evaluate.clips=1 evaluate.crops=1

A folder is read as one video whose frames are the images in it. Each video is scored over evaluate.clips x
evaluate.crops views, as in videopool evaluate. The percentages of a video add up to 100 over all classes. If a video
may have several classes, each class has an independent percentage instead.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool predict``."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint, program.pt2 or model.safetensors")
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="videos, and key=value overrides")
    parser.add_argument("--top", type=positive, default=5, help="classes to print (default: 5)")


def run(arguments: argparse.Namespace) -> int:
    """Print the most probable classes of each video."""
    overrides = [item for item in arguments.videos if "=" in item and not Path(item).exists()]
    paths = list(dict.fromkeys(item for item in arguments.videos if item not in overrides))
    if not paths:
        raise InputError("no video is given, only key=value; add the paths of videos")
    refuse_unused(overrides, {**UNUSED, "out": "predictions are printed", "data.test": "give videos as arguments"})
    from videopool.inference import load

    workers = 0 if len(paths) <= 8 else None  # starting the workers of the configuration takes seconds
    scores = load(arguments.checkpoint, overrides, workers=workers).scores(paths)
    reasons = {bad.video: bad.reason for bad in scores.bad}
    for index, path in enumerate(paths):
        if index not in reasons:
            print(path)
            for prediction in scores.top(index, arguments.top):
                print(f"  {100 * prediction.probability:6.2f} %  {prediction.label}")
    if reasons:
        listed = "; ".join(f"{paths[index]} {reason}" for index, reason in reasons.items())
        raise InputError(
            listed if len(paths) == 1 else f"{len(reasons)} of {len(paths)} videos could not be read: {listed}"
        )
    return 0
