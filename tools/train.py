"""Train a video classifier: python tools/train.py --config FILE [key=value ...]

Several processes: torchrun --nproc-per-node N tools/train.py --config FILE [key=value ...]
"""

import argparse
import sys

from videopool.config import load
from videopool.engine import command
from videopool.engine.build import build_training
from videopool.engine.distributed import connect, disconnect
from videopool.engine.stop import EXIT_STOPPED, StopRequest


def main(arguments: argparse.Namespace) -> int:
    config = load(arguments.config, arguments.overrides)
    world = connect(config.train.device)
    with StopRequest() as stop:
        run = build_training(config, world, stop)
        log = run.trainer.log
        try:
            log.say(run.about)
            if run.finished:
                log.say(f"{config.out} is already trained to its last step, {run.trainer.step}; nothing to do")
                return 0
            log.say(f"training on {world.device} ({world.size} process{'es' * (world.size > 1)}): {config.out}")
            if run.trainer.step:
                log.say(f"going on from step {run.trainer.step} of {run.trainer.total_steps}")
            with log:
                finished = run.trainer.run()
        finally:
            run.close()
            disconnect()
    if not finished:
        log.say(f"stopped on request at step {run.trainer.step}; the same command goes on from there")
        return EXIT_STOPPED
    log.say(f"done: {run.trainer.checkpoints.last}")
    return 0


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("--config", required=True, help="YAML file, see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. optim.lr=0.05 data.root=/videos")
    sys.exit(command.run(main, parser.parse_intermixed_args()))
