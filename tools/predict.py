"""Classify videos: python tools/predict.py CHECKPOINT VIDEO [VIDEO ...] [key=value ...] [--top 5]

A folder is a video whose frames are the images in it. Each video is scored over evaluate.clips x evaluate.crops views,
as tools/evaluate.py does. The percentages of a video add up to 100 over all classes, unless a video may have several
classes: then each stands for itself.
"""

import argparse
import sys
from pathlib import Path

from videopool.engine import command
from videopool.engine.build import load_trained, preparation, test_plan
from videopool.engine.distributed import connect
from videopool.engine.evaluate import evaluate
from videopool.engine.scores import video_scores
from videopool.errors import InputError
from videopool.types import VideoRecord


def main(arguments: argparse.Namespace) -> int:
    overrides = [item for item in arguments.videos if "=" in item and not Path(item).exists()]
    paths = {item: Path(item) for item in arguments.videos if item not in overrides}
    records = [VideoRecord(item, path, 0, frames=0 if path.is_dir() else None) for item, path in paths.items()]
    if not records:
        raise InputError(f"no video is named beside {' '.join(overrides)}; give the paths of videos")
    config, classes, model, state = load_trained(arguments.checkpoint, overrides)
    world = connect(config.train.device)
    bfloat16 = config.train.precision == "bfloat16"
    loader, plan = test_plan(config, records, classes, world, state["several_labels"])
    try:
        result = evaluate(model.to(world.device), plan, prepare=preparation(config), world=world, bfloat16=bfloat16)
    finally:
        loader.close()
    videos = video_scores(result.clips, labels=plan.labels, classes=len(classes), views=plan.views)
    reasons = {bad.video: bad.reason for bad in result.bad}
    for index, record in enumerate(records):
        if index in reasons:
            continue
        print(record.path)
        scores = videos.sums[index] / videos.views[index]
        for score, k in zip(
            *(column.tolist() for column in scores.topk(min(arguments.top, len(classes)))), strict=True
        ):
            print(f"  {100 * score:6.2f} %  {classes[k]}")
    if reasons:
        listed = "; ".join(f"{records[index].path}: {reason}" for index, reason in reasons.items())
        raise InputError(f"{len(reasons)} of {len(records)} videos could not be read: {listed}")
    return 0


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("checkpoint", type=Path, help="e.g. runs/demo/checkpoints/last.pt")
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="videos, and key=value overrides")
    parser.add_argument("--top", type=command.positive, default=5, help="classes to print")
    sys.exit(command.run(main, parser.parse_intermixed_args()))
