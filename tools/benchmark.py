"""Measure speed: python tools/benchmark.py SUBJECT [options]

ops: the pooling kernels against torch's pooling. loader: clips from files to batches, where their time goes, and what
would make them come faster. python tools/benchmark.py SUBJECT --help shows its options.
"""

import argparse
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SUBJECTS = {"ops": "pooling.py", "loader": "loader.py"}


def main(arguments: argparse.Namespace) -> int:
    # A process of its own, so that the settings of torch's threads that the other tools make do not change the result.
    command = [sys.executable, str(BENCHMARKS / SUBJECTS[arguments.subject]), *arguments.options]
    try:
        return subprocess.run(command).returncode
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("options", nargs=argparse.REMAINDER)
    sys.exit(main(parser.parse_args()))
