"""What each pooling layer passes on: python tools/feature_maps.py CHECKPOINT VIDEO [key=value ...] --to FOLDER

The middle clip of the video, centre crop, as tools/evaluate.py prepares it. For each pooling layer its input and output
feature maps (the channels of largest variance): a PNG each, an overview, and TensorBoard images with --tensorboard.
"""

import argparse
import sys
from pathlib import Path

from videopool.engine import command
from videopool.engine.build import load_trained, preparation, test_plan
from videopool.engine.distributed import connect
from videopool.errors import InputError
from videopool.report.feature_maps import site_maps, write_maps
from videopool.types import VideoRecord


def main(arguments: argparse.Namespace) -> int:
    overrides = [*arguments.overrides, "evaluate.clips=1", "evaluate.hop=0", "evaluate.crops=1", "data.workers=0"]
    config, classes, model, state = load_trained(arguments.checkpoint, overrides)
    world = connect(config.train.device)
    record = VideoRecord(arguments.video.name, arguments.video, label=0)
    loader, plan = test_plan(config, [record], classes, world, state["several_labels"])
    try:
        batch = next(iter(plan.batches))
    finally:
        loader.close()
    if batch.bad:
        raise InputError(f"{batch.bad[0].path}: {batch.bad[0].reason}; name another video")
    clip = preparation(config)(batch.clips.to(world.device))
    sites = site_maps(model.to(world.device), clip, channels=arguments.channels)
    title = f"{config.model.target or config.model.name}, step {state['step']}, on {arguments.video.name}"
    for path in write_maps(sites, arguments.to, title=title, board=arguments.tensorboard):
        print(f"written: {path}")
    for maps in sites:
        print(f"{maps.path}: {maps.describe()}")
    return 0


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("checkpoint", type=Path, help="e.g. runs/demo/checkpoints/last.pt")
    parser.add_argument("video", type=Path, metavar="VIDEO")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. clip.frames=16")
    parser.add_argument("--to", type=Path, required=True, help="folder to write to")
    parser.add_argument("--channels", type=command.positive, default=8, help="shown of each layer (8)")
    parser.add_argument("--tensorboard", action="store_true", help="also write TensorBoard images")
    sys.exit(command.run(main, parser.parse_intermixed_args()))
