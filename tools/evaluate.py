"""Test a checkpoint, clip-level and video-level: python tools/evaluate.py CHECKPOINT [key=value ...]

Results go to evaluation/ in the run's folder, or to --to. Several processes: torchrun --nproc-per-node N ...
"""

import argparse
import sys
from pathlib import Path

from rich.progress import Progress

from videopool.engine import command
from videopool.engine.build import load_trained, preparation, read_list, test_plan
from videopool.engine.distributed import connect, disconnect
from videopool.engine.evaluate import evaluate
from videopool.engine.predictions import write_predictions
from videopool.engine.results import metrics_table, refuse_missing, run_folder, write_results, write_unscored


def main(arguments: argparse.Namespace) -> int:
    config, classes, model, state = load_trained(arguments.checkpoint, arguments.overrides)
    world = connect(config.train.device)
    folder = arguments.to or run_folder(arguments.checkpoint, config.out) / "evaluation"
    folder.mkdir(parents=True, exist_ok=True)  # before the work, not after it
    tests = read_list(config, config.data.test, classes, may_lack_labels=True)
    records = tests.records
    loader, plan = test_plan(config, records, classes, world, state["several_labels"])
    try:
        with Progress(disable=not world.main) as progress:
            views = f"x {plan.views} views" if plan.views else "in sliding windows"
            task = progress.add_task(f"{len(records)} videos {views}", total=loader.videos)
            result = evaluate(
                model.to(world.device),
                plan,
                prepare=preparation(config),
                world=world,
                bfloat16=config.train.precision == "bfloat16",
                on_videos=lambda videos: progress.update(task, completed=videos),
            )
    finally:
        loader.close()
        disconnect()
    if not world.main:
        return 0
    listed = write_unscored(folder, result)
    refuse_missing(result, listed, allowed=config.evaluate.allow_missing)
    described = {"checkpoint": str(arguments.checkpoint), "step": state["step"], "overrides": arguments.overrides}
    write_results(folder, result, described)
    predictions = [str(write_predictions(folder, result, records, classes))] if records.unlabeled else []
    print("\n".join(filter(None, (tests.note, metrics_table(result.metrics)))))
    print("written:", ", ".join([f"{folder}/metrics.json", f"{folder}/scores.npz", *predictions]))
    return 0


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("checkpoint", type=Path, help="e.g. runs/demo/checkpoints/best.pt")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. evaluate.clips=4 data.root=/videos")
    parser.add_argument("--to", type=Path, help="folder for the results")
    sys.exit(command.run(main, parser.parse_intermixed_args()))
