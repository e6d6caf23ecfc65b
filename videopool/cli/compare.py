"""``videopool compare``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from videopool.cli.parsing import add_overrides, command_line, positive
from videopool.errors import InputError

SUMMARY = "Train one network with every pooling method, on every fold and seed."
EXAMPLES = """examples:
  videopool compare --config weizmann/compare_c3d data.root=/data/weizmann
  videopool compare --config my_comparison.yaml --methods soft,max --seeds 0,1 --processes 2

results.json, table.md, table.csv and figure.png are written to the folder of the comparison. Run the same command again
to resume.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool compare``."""
    parser.add_argument(
        "--config", metavar="NAME", help="YAML file of a comparison, or a name that --list-configs shows"
    )
    parser.add_argument("--list-configs", action="store_true", help="list the shipped comparisons, and exit")
    parser.add_argument("--methods", default="", metavar="A,B", help="run only these methods of the file")
    parser.add_argument("--seeds", type=_seeds, metavar="0,1", help="use these seeds instead of those of the file")
    parser.add_argument(
        "--processes", type=positive, default=1, help="runs at a time, which share the cores (default: 1)"
    )
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="file of finished runs to continue from and to add to, for other checkouts and machines",
    )
    add_overrides(parser, "train.epochs=60 data.root=/videos")


def _seeds(text: str) -> str:
    """Return ``text`` if it is a list of whole numbers; a type for argparse."""
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise argparse.ArgumentTypeError(f"expected whole numbers such as 0,1,2, got {text}")
    return text


def run(arguments: argparse.Namespace) -> int:
    """Run what is left of the comparison, and write its tables."""
    if arguments.list_configs:
        from videopool.config.shipped import print_configs

        print_configs(comparisons=True)
        return 0
    if not arguments.config:
        raise InputError("--config is missing; give a YAML file, or a name that videopool compare --list-configs shows")
    from videopool.config.comparison import load_comparison

    seeds = [f"seeds=[{arguments.seeds}]"] if arguments.seeds else []
    comparison = load_comparison(arguments.config, [*arguments.overrides, *seeds])
    methods = [name.strip() for name in arguments.methods.split(",")] if arguments.methods else list(comparison.methods)
    for name in methods:
        if name not in comparison.methods:
            known = ", ".join(comparison.methods)
            raise InputError(f"--methods: unknown method {name!r}; choose from {known}")
    from videopool.compare.series import compare
    from videopool.engine.cluster.stop import EXIT_STOPPED

    say = lambda text: print(text, flush=True)  # noqa: E731
    done = compare(comparison, methods, arguments.processes, arguments.record, command_line(), say)
    if done is None:
        say("stopped on request; run the same command again to resume")
        return EXIT_STOPPED
    report, failures = done
    say(report.conclusion)
    say(f"written: {', '.join(map(str, report.written))}")
    return 1 if failures else 0
