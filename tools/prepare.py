"""Prepare a data set: python tools/prepare.py scan|split|stats|transcode|verify LIST [options]

scan measures every video once and writes a manifest, which data.train and data.test take in place of the list. Each
subcommand shows its options with --help; docs/prepare.md shows them at work.
"""

import argparse
import sys

from videopool.engine import command
from videopool.engine.stop import EXIT_STOPPED, StopRequest
from videopool.prepare.command import Call, Stopped, add_subcommands


def main(arguments: argparse.Namespace) -> int:
    with StopRequest() as stop:
        try:
            return arguments.run(arguments, Call(command.said(), lambda: stop.requested))
        except Stopped as stopped:
            print(f"stopped on request: {stopped}", file=sys.stderr)
            return EXIT_STOPPED


if __name__ == "__main__":
    parser = command.parser(__doc__)
    add_subcommands(parser)
    sys.exit(command.run(main, parser.parse_args()))
