"""``videopool evaluate``."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from videopool.cli.evaluate_stored import add_stored_scores, evaluate_stored
from videopool.cli.parsing import add_overrides, add_trust, refuse_unused
from videopool.cli.published import add_published, published_classes, published_config, results_folder
from videopool.cli.report import write_reports
from videopool.config.error_keys import KEYS
from videopool.config.keys import keys_of
from videopool.config.schema import Train
from videopool.errors import InputError

if TYPE_CHECKING:
    from videopool.engine.builders.testing import Trained

SUMMARY = "Evaluate a checkpoint: clip-level and video-level accuracy."
EXAMPLES = """examples:
  videopool evaluate runs/mine/checkpoints/last.pt
  videopool evaluate runs/mine/checkpoints/best.pt data.test=other_videos evaluate.clips=4 --to results
  torchrun --nproc-per-node 8 -m videopool.cli.evaluate runs/k400/checkpoints/last.pt

metrics.json, scores.npz and predictions.csv are written to evaluation/ in the folder of the run, or to --to.

weights of PySlowFast, mmaction2 and others, with the configuration of their network (docs/pretrained.md):
  videopool evaluate SLOWFAST_8x8_R50.pyth --config kinetics400/slowfast_r50_8x8 data.root=/data/k400

metrics, the accuracy with fewer views, ensembles and comparisons from stored scores, without videos or a checkpoint:
  videopool evaluate --from runs/mine/evaluation/scores.npz
  videopool evaluate --from runs/a/evaluation/scores.npz runs/b/evaluation/scores.npz --average logits --to ensemble
  videopool evaluate --from runs/a/evaluation/scores.npz --against runs/b/evaluation/scores.npz
"""
SETTINGS = {**KEYS, "classes": "--classes"}
# The keys of train that an evaluation reads.
_READ = (
    "train.batch",
    "train.batch_per_device",
    "train.device",
    "train.precision",
    "train.timeout",
    "train.start_timeout",
)
# Overrides that have no effect on an evaluation, and what to do instead.
UNUSED = {
    "out": "give the folder of the results with --to FOLDER",
    "data.train": "the videos to test are data.test",
    "optim": "it is for training",
    "augment": "it is for training",
    "model.pretrained": "the weights are those of the checkpoint",
    "model.checkpoint_activations": "it is for training",
    "model.drop_path": "it is for training",
    **{key.name: "it is for training" for key in keys_of(Train, "train.") if key.name not in _READ},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool evaluate``."""
    parser.add_argument("checkpoint", type=Path, nargs="?", help="e.g. runs/mine/checkpoints/best.pt")
    add_overrides(parser, "evaluate.clips=4 data.root=/videos")
    parser.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="folder for the results (default: evaluation/ in the run's folder; with --from: nothing is written)",
    )
    parser.add_argument("--report", action="store_true", help="also write report.html, as videopool report does")
    add_trust(parser)
    add_published(parser)
    add_stored_scores(parser)
    parser.set_defaults(refuse=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Score the test videos, or read scores; write the results and print the metrics."""
    if arguments.scores or arguments.against:
        if arguments.report and arguments.to is None:
            raise InputError("--report needs a folder to write to; add --to FOLDER")
        if arguments.config:
            raise InputError("--config is for weights of other packages, not for stored scores. Remove it.")
        return evaluate_stored(arguments) or _report(arguments, arguments.to)
    if arguments.checkpoint is None:
        arguments.refuse("the following arguments are required: checkpoint")
    return _evaluate(arguments)


def _evaluate(arguments: argparse.Namespace) -> int:
    refuse_unused(arguments.overrides, UNUSED)
    from videopool.config import to_plain
    from videopool.console import progress_bar
    from videopool.engine.builders.parts import read_list
    from videopool.engine.builders.testing import build_test, write_evaluation
    from videopool.engine.cluster.distributed import connect, disconnect, peers
    from videopool.engine.cluster.hang import Watch
    from videopool.engine.scoring.evaluation import evaluate
    from videopool.engine.scoring.results import metrics_table
    from videopool.engine.scoring.score_shards import ShardFolder

    trained = _load(arguments)
    config, classes = trained.config, trained.classes
    spec = config.train
    world = connect(spec.device, timeout=spec.timeout, start_timeout=spec.start_timeout)
    folder = arguments.to or results_folder(arguments, config) / "evaluation"
    folder.mkdir(parents=True, exist_ok=True)  # fails before the work, not after it
    tests = read_list(config, config.data.test, classes, may_lack_labels=True)
    records = tests.records
    loader, plan = build_test(trained, records, world)
    with contextlib.ExitStack() as stack:
        with Watch(peers(), folder, spec.timeout) as watch:
            files = stack.enter_context(ShardFolder(folder, world))
            try:
                with progress_bar(disable=not world.main) as progress:
                    views = f"x {plan.views} views" if plan.views else "in sliding windows"
                    task = progress.add_task(f"{len(records)} videos {views}", total=loader.videos)

                    def note(videos: int) -> None:
                        watch.evaluated(videos)
                        progress.update(task, completed=videos)

                    model = trained.model.to(world.device)
                    result = evaluate(model, plan, world=world, files=files, on_videos=note)
            finally:
                loader.close()
                disconnect()
        if not world.main:
            return 0
        # After the watch, because the intervals of many videos may take longer than its timeout.
        own = {"config": to_plain(config)} if arguments.config else {}  # in no other file
        details = {"checkpoint": arguments.checkpoint, "overrides": arguments.overrides, **own}
        assessed, written = write_evaluation(folder, trained, result, records, **details)
    custom = [f"{name:<22} {value:.6g}" for name, value in result.custom.items()]
    print("\n".join(filter(None, (trained.note, tests.note, metrics_table(result.metrics, assessed), *custom))))
    print("written:", ", ".join(map(str, written)))
    return _report(arguments, folder)


def _load(arguments: argparse.Namespace) -> Trained:
    """Return the network to evaluate: of a checkpoint, or of weights of another package with ``--config``."""
    from videopool.engine.builders.parts import read_list
    from videopool.engine.builders.published import load_published
    from videopool.engine.builders.testing import load_trained

    classes = published_classes(arguments)
    if arguments.config is None:
        trained = load_trained(arguments.checkpoint, arguments.overrides, trust=arguments.trust)
        _check_root(trained.config.data.root)
        return trained
    config = published_config(arguments, arguments.overrides)
    tests = read_list(config, config.data.test, classes, may_lack_labels=True)
    return load_published(arguments.checkpoint, config, classes, tests)


def _report(arguments: argparse.Namespace, folder: Path) -> int:
    """Write ``report.html`` if ``--report`` asks for it."""
    if arguments.report:
        for path in write_reports(folder, [], trust=arguments.trust):
            print(f"written: {path}")
    return 0


def _check_root(root: str) -> None:
    if root and not Path(root).is_absolute() and not Path(root).exists():
        raise InputError(
            f"data.root={root} does not exist in {Path.cwd()}; training may have been started in another folder. Add "
            "data.root=FOLDER, or start videopool there."
        )


if __name__ == "__main__":
    from videopool.cli.main import main

    sys.exit(main(["evaluate", *sys.argv[1:]]))
