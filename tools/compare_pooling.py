"""Compare pooling methods: python tools/compare_pooling.py --config FILE [--methods A,B] [--seeds 0,1] [key=value ...]

Trains and tests the network of FILE with every method, on every fold and seed, by one recipe; started again, it goes
on where it was. Tables and figure are in the folder of the comparison: results.json, table.md, table.csv, figure.png.
"""

import argparse
import sys
from pathlib import Path

from videopool.config.comparison import load_comparison
from videopool.engine import command

# torch reads what ``command`` sets
from videopool.compare.plan import make_plan  # isort: skip
from videopool.compare.results import Report
from videopool.compare.supervise import Supervisor, lock_folder
from videopool.engine.stop import EXIT_STOPPED
from videopool.errors import InputError


def main(arguments: argparse.Namespace) -> int:
    seeds = [f"seeds=[{arguments.seeds}]"] if arguments.seeds else []
    comparison = load_comparison(arguments.config, [*arguments.overrides, *seeds])
    methods = [name.strip() for name in arguments.methods.split(",")] if arguments.methods else list(comparison.methods)
    for name in methods:
        if name not in comparison.methods:
            raise InputError(f"--methods: {name!r} is not among those of the file: {', '.join(comparison.methods)}")
    say = lambda text: print(text, flush=True)  # noqa: E731
    with lock_folder(Path(comparison.out)):  # the lists of the folds are written there, too
        plan = make_plan(comparison)
        report = Report(plan, command.said())
        supervisor = Supervisor(plan, methods=methods, processes=arguments.processes, write=report.write, say=say)
        if not supervisor.run():
            say("stopped on request; the same command goes on from there")
            return EXIT_STOPPED
    say(report.conclusion)
    say(f"written: {', '.join(map(str, report.written))}")
    return 1 if supervisor.failures else 0


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.add_argument("--config", required=True, help="YAML file, see configs/weizmann/compare_c3d.yaml")
    parser.add_argument("--methods", default="", help="do only these now, by name, with commas between them")
    parser.add_argument("--seeds", default="", help="in the place of the file's, with commas between them")
    parser.add_argument("--processes", type=command.positive, default=1, help="runs side by side; cores are shared out")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. train.epochs=60 data.root=/videos")
    sys.exit(command.run(main, parser.parse_intermixed_args()))
