"""Write the demo's dataset: real H.264 videos of eight motions. python tools/make_demo_videos.py --to DIR"""

import argparse
import sys
from pathlib import Path

from rich.progress import Progress

from videopool.data.synthetic import MOTIONS, write_motion_videos
from videopool.engine import command


def main(arguments: argparse.Namespace) -> int:
    total = len(MOTIONS) * (arguments.train + arguments.test)
    with Progress() as progress:
        task = progress.add_task("writing videos", total=total)
        write_motion_videos(
            arguments.to,
            train_per_class=arguments.train,
            test_per_class=arguments.test,
            seed=arguments.seed,
            progress=lambda done, total: progress.update(task, completed=done),
        )
    print(f"{total} videos, classes {', '.join(MOTIONS)}: {arguments.to}")
    return 0


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("--to", type=Path, required=True, help="folder to write train/CLASS/ and test/CLASS/ into")
    parser.add_argument("--train", type=command.positive, default=40, help="training videos of each class")
    parser.add_argument("--test", type=command.positive, default=10, help="test videos of each class")
    parser.add_argument("--seed", type=int, default=0)
    sys.exit(command.run(main, parser.parse_intermixed_args()))
