"""``videopool feature-maps``."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from videopool.cli.evaluate import UNUSED
from videopool.cli.parsing import add_overrides, add_trust, positive, refuse_unused
from videopool.errors import InputError

SUMMARY = "Show the input and output of each pooling layer of a trained network."
EXAMPLES = """examples:
  videopool feature-maps runs/mine/checkpoints/best.pt video.mp4 --to maps
  videopool feature-maps runs/mine/checkpoints/best.pt video.mp4 --to maps --channels 4 --tensorboard

The command uses the center crop of the middle clip, prepared as for videopool evaluate. It writes an overview and a
PNG for each pooling layer, with the channels of largest variance.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool feature-maps``."""
    parser.add_argument("checkpoint", type=Path, help="e.g. runs/mine/checkpoints/best.pt")
    parser.add_argument("video", type=Path, metavar="VIDEO", help="a video")
    add_overrides(parser, "clip.frames=16")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="folder to write to")
    parser.add_argument("--channels", type=positive, default=8, help="channels to show for each layer (default: 8)")
    parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard images")
    add_trust(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the feature maps."""
    refuse_unused(arguments.overrides, {**UNUSED, "evaluate": "the clip is the middle one, center crop"})
    from videopool.engine.builders.testing import build_test, load_trained
    from videopool.engine.cluster.distributed import alone
    from videopool.report.feature_maps import site_maps, write_maps
    from videopool.types import VideoRecord

    overrides = [*arguments.overrides, "evaluate.clips=1", "evaluate.hop=0", "evaluate.crops=1", "data.workers=0"]
    trained = load_trained(arguments.checkpoint, overrides, trust=arguments.trust)
    config = trained.config
    world = alone(config.train.device)
    record = VideoRecord(arguments.video.name, arguments.video, label=0)
    loader, plan = build_test(trained, [record], world)
    with contextlib.closing(loader):
        batch = next(iter(plan.batches))
    if batch.bad:
        raise InputError(f"{batch.bad[0].path} {batch.bad[0].reason}; give another video")
    clip = trained.preprocess(batch.clips.to(world.device))
    sites = site_maps(trained.model.to(world.device), clip, channels=arguments.channels)
    title = f"{config.model.target or config.model.name}, step {trained.step}, on {arguments.video.name}"
    for path in write_maps(sites, arguments.to, title=title, board=arguments.tensorboard):
        print(f"written: {path}")
    for maps in sites:
        print(f"{maps.path}: {maps.describe()}")
    return 0
