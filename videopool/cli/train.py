"""``videopool train``."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from videopool.errors import InputError

if TYPE_CHECKING:
    from videopool.config import Config

SUMMARY = "Train a video classifier; run the same command again to resume."
EXAMPLES = """examples:
  videopool train --list-configs
  videopool train --config small/c3d data.root=my_videos out=runs/mine
  videopool train --config small/c3d data.root=my_videos out=runs/mine --dry-run
  videopool train --config small/c3d data.root=my_videos out=runs/mine --replay runs/mine/failed-step-0000123.pt
  videopool train --explain clip.stride
  torchrun --nproc-per-node 8 -m videopool.cli.train --config kinetics400/slowfast_r50_8x8 data.root=/data/k400
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool train``."""
    from videopool.cli.parsing import add_overrides, add_trust

    parser.add_argument("--config", metavar="NAME", help="YAML file, or a name that --list-configs shows")
    add_overrides(parser, "optim.lr=0.05 data.root=/videos")
    actions = parser.add_argument_group("instead of training").add_mutually_exclusive_group()
    actions.add_argument("--list-configs", action="store_true", help="list the shipped configurations")
    actions.add_argument("--explain", metavar="KEY", help="explain a key or a section (all: every key)")
    actions.add_argument("--print-config", action="store_true", help="print the resolved configuration")
    actions.add_argument("--replay", metavar="FILE", help="repeat the step in failed-step-*.pt, find the layer")
    actions.add_argument("--print-schedule", action="store_true", help="print batches, clips and learning rates")
    actions.add_argument("--dry-run", action="store_true", help="build everything, read a batch, and describe the run")
    add_trust(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train, or do what one of the other options asks for."""
    if arguments.list_configs:
        from videopool.config.shipped import print_configs

        print_configs(comparisons=False)
        return 0
    if arguments.explain is not None:
        from videopool.config.reference import explain

        print(explain("" if arguments.explain == "all" else arguments.explain))
        return 0
    if not arguments.config:
        raise InputError("--config is missing; give a YAML file, or a name that videopool train --list-configs shows")
    from videopool.config import dump, load

    config = load(arguments.config, arguments.overrides)
    if arguments.print_config:
        print(dump(config), end="")
        return 0
    if arguments.print_schedule:
        from videopool.engine.builders.schedule_table import describe_schedule

        print(describe_schedule(config))
        return 0
    if arguments.replay is not None:
        return _replay(config, Path(arguments.replay), trust=arguments.trust)
    return _train(config, dry=arguments.dry_run, trust=arguments.trust)


def _replay(config: Config, path: Path, *, trust: bool) -> int:
    from videopool.engine.builders.replay import build_replay
    from videopool.engine.checkpoints.replay import replay
    from videopool.engine.cluster.distributed import connect, disconnect

    spec = config.train
    world = connect(spec.device, timeout=spec.timeout, start_timeout=spec.start_timeout)
    run = build_replay(config, path, world, trust=trust)
    try:
        print(replay(run.trainer))
    finally:
        run.close()
        disconnect()
    return 0


def _train(config: Config, *, dry: bool, trust: bool) -> int:
    # torch would print a page of C++ frames for each lost connection. It reads this variable when it is imported.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from videopool.cli.run_folder import reserved
    from videopool.engine.builders.training import build_training
    from videopool.engine.cluster.distributed import connect, disconnect, peers
    from videopool.engine.cluster.hang import Watch
    from videopool.engine.cluster.reporting import forget_stop, record_stop
    from videopool.engine.cluster.stop import EXIT_STOPPED, StopRequest
    from videopool.engine.dry_run import describe_run

    spec = config.train
    world = connect(spec.device, timeout=spec.timeout, start_timeout=spec.start_timeout)
    with (
        StopRequest() as stop,
        Watch(peers(), Path(config.out), spec.timeout) as watch,
        contextlib.nullcontext() if dry else reserved(Path(config.out), world),
    ):
        run = build_training(config, world, stop, dry=dry, trust=trust, on_videos=watch.evaluated)
        trainer, say = run.trainer, run.trainer.log.say
        watch.follow(trainer)
        try:
            say(run.about)
            if dry:
                say(describe_run(run))
                return 0
            if run.finished:
                say(f"{config.out} is trained to its last step, {trainer.step}; there is nothing to do")
                return 0
            say(f"training on {world.device} ({world.size} process{'es' * (world.size > 1)}): {config.out}")
            if trainer.step:
                say(f"resuming from step {trainer.step} of {trainer.total_steps}")
            forget_stop(config.out, world)
            with trainer.log:
                finished = trainer.run()
            if not finished:
                say(f"stopped on request at step {trainer.step}; run the same command again to resume")
                record_stop(config.out, world, trainer.step)
        finally:
            run.close()
            disconnect()
    if not finished:
        return EXIT_STOPPED
    say(f"done: {trainer.checkpoints.last}")
    return 0


if __name__ == "__main__":
    from videopool.cli.main import main

    sys.exit(main(["train", *sys.argv[1:]]))
