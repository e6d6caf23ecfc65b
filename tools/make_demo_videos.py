"""Write the dataset of the demo: H.264 videos of eight motions."""

import argparse
import sys
from pathlib import Path

from videopool.cli.demo import write_videos
from videopool.cli.parsing import positive, run_command, whole

SUMMARY = "Write the dataset of the demo: H.264 videos of eight motions."
EXAMPLES = """example:
  python tools/make_demo_videos.py --to videos --train 10 --test 2"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="for train/CLASS and test/CLASS")
    parser.add_argument("--train", type=positive, default=40, help="training videos of each class (40)")
    parser.add_argument("--test", type=positive, default=10, help="test videos of each class (10)")
    parser.add_argument("--seed", type=whole, default=0, help="seed of the motions (0)")


def run(arguments: argparse.Namespace) -> int:
    write_videos(arguments.to, train=arguments.train, test=arguments.test, seed=arguments.seed)
    return 0


if __name__ == "__main__":
    sys.exit(run_command("make_demo_videos.py", sys.modules[__name__], sys.argv[1:]))
