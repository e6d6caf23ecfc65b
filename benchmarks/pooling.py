"""``videopool benchmark ops``: SoftPool and torch's pooling timed over windows, shapes, layouts and dtypes."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import math
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":  # videopool benchmark runs this file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch reads it on import; silences two lines per use of the profiler

import torch

from benchmarks import pooling_chart, pooling_report, pooling_results
from benchmarks.pooling_cells import (
    DTYPES,
    LAYOUTS,
    SHAPES,
    VARIANTS,
    WINDOWS,
    Cell,
    copy_bandwidth,
    fits,
    make_inputs,
    measure_cell,
)
from benchmarks.pooling_results import Results, Session, shape_name
from benchmarks.timing import MALLOC_SETTINGS, set_memory, this_machine
from videopool import ops
from videopool.cli.parsing import positive, run_command
from videopool.errors import InputError

QUICK_SHAPE = (4, 64, 16, 56, 56)
SUMMARY = "Time SoftPool and torch's pooling: forward, backward and both, over windows, shapes, layouts and dtypes."
EXAMPLES = """examples:
  videopool benchmark ops                                  (one shape in float32, about 3 minutes on 2 cores)
  videopool benchmark ops --full --json all.json --to all.md --chart all.png
  videopool benchmark ops --full --dtypes float32 --json float32.json      (a long run in parts ...)
  videopool benchmark ops --from float32.json bfloat16.json --to all.md    (... merged into one table)

The variants take turns in one process, in a balanced order and with several inputs, so that a disturbance affects all
of them alike. Compare the ratios to clone, not the milliseconds of different machines. "composed" is SoftPool in plain
torch, avg_pool(exp(x) * x) / avg_pool(exp(x)); "compiled" is the same under torch.compile.
"""


def run(arguments: argparse.Namespace) -> int:
    """Measure or read results, print their tables and write the files that the options name."""
    prepare_outputs(arguments)
    if arguments.read:
        results = pooling_results.selected(
            pooling_results.merged([pooling_results.read(path) for path in arguments.read]),
            windows=arguments.windows,
            shapes=arguments.shapes,
            layouts=arguments.layouts,
            dtypes=arguments.dtypes,
        )
    else:
        results = measure(arguments)
    text = pooling_report.markdown(results)
    print(text)
    if arguments.json:
        pooling_results.write(arguments.json, results)
    if arguments.to:
        pooling_results.write_text(arguments.to, text)
    if arguments.chart:
        pooling_chart.draw(arguments.chart, results)
    return 0


def measure(arguments: argparse.Namespace) -> Results:
    """Measure the requested grid. With --json, write the file again after every cell."""
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU; use --device cpu")
    load_before = os.getloadavg()[0]
    torch.manual_seed(0)
    session = Session(command(sys.argv[1:]), datetime.date.today().isoformat(), load_before)
    results = Results(this_machine(device, set_memory(arguments.memory)), ops.backend(), (session,), ())
    for cell in measure_cells(arguments, device, results.machine.cache_bytes):
        results = Results(results.machine, results.backend, results.sessions, (*results.cells, cell))
        if arguments.json:
            pooling_results.write(arguments.json, results)
        print(progress(cell), file=sys.stderr, flush=True)
    return results


def measure_cells(arguments: argparse.Namespace, device: torch.device, cache_bytes: int) -> Iterator[Cell]:
    """Measure the cells of the grid one after another; memory only at the largest shape."""
    windows = arguments.windows or list(WINDOWS)
    # From large to small, so that large tensors do not reuse the memory of freed small ones.
    shapes = sorted(arguments.shapes or (SHAPES if arguments.full else [QUICK_SHAPE]), key=math.prod, reverse=True)
    dtypes = arguments.dtypes or (list(DTYPES) if arguments.full else ["float32"])
    compiled = arguments.full if arguments.compile is None else arguments.compile
    names = [
        name for name in VARIANTS if name in ("videopool", *arguments.variants) or (name == "compiled" and compiled)
    ]
    for shape in shapes:
        for window in windows:
            if not fits(WINDOWS[window], shape):
                raise InputError(
                    f"--shapes {shape_name(shape)} is smaller than --windows {window}; leave out one of them"
                )
    copy_gb_per_s = copy_bandwidth(device) if device.type == "cuda" else 0.0
    for shape in shapes:
        for layout in arguments.layouts or LAYOUTS:
            for dtype in dtypes:
                inputs = make_inputs(shape, DTYPES[dtype], LAYOUTS[layout], device, cache_bytes)
                for window in windows:
                    yield measure_cell(
                        window,
                        layout,
                        inputs,
                        names,
                        rounds=arguments.rounds,
                        seconds=arguments.seconds,
                        with_memory=shape == shapes[0],
                        copy_gb_per_s=copy_gb_per_s,
                    )


def progress(cell: Cell) -> str:
    """Return a line of progress."""
    taken = {name: pooling_report.ms(cell, name, "both") for name in cell.times}
    shown = ", ".join(f"{name} {value:.3g}" for name, value in taken.items() if value)
    return (
        f"{pooling_results.name(cell)}: both, ms: {shown} ({cell.rounds} rounds, other work {100 * cell.others:.0f} %)"
    )


def command(options: list[str]) -> str:
    """Return the command of this run, without the folders of this machine."""
    return shlex.join(["videopool", "benchmark", "ops", *(Path(option).name for option in options)])


def prepare_outputs(arguments: argparse.Namespace) -> None:
    """Check before the measurement that its results can be written."""
    for path in (arguments.json, arguments.to, arguments.chart):
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"{path} is a folder; give a file in it")
        path.parent.mkdir(parents=True, exist_ok=True)
    if arguments.chart and importlib.util.find_spec("matplotlib") is None:
        raise InputError(
            "--chart needs matplotlib; install it, or write --json now and draw the chart later with --from"
        )


def duration(text: str) -> float:
    """Return the seconds of an option, 0 or more."""
    if not text.replace(".", "", 1).isdecimal():
        raise argparse.ArgumentTypeError(f"expected seconds such as 0.5, got {text}")
    return float(text)


def shape(text: str) -> tuple[int, ...]:
    """Return the shape of an option such as 4x64x16x56x56."""
    sizes = text.split("x")
    if len(sizes) != 5 or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise argparse.ArgumentTypeError(f"expected five sizes NxCxDxHxW such as 4x64x16x56x56, got {text}")
    return tuple(map(int, sizes))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``videopool benchmark ops``."""
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--full", action="store_true", help="all shapes, layouts and dtypes, and torch.compile")
    parser.add_argument("--windows", nargs="+", choices=WINDOWS, default=[], metavar="W", help=", ".join(WINDOWS))
    shapes = ", ".join(map(shape_name, SHAPES))
    parser.add_argument("--shapes", nargs="+", type=shape, default=[], metavar="NxCxDxHxW", help=f"in --full: {shapes}")
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=[])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=[])
    others = [name for name in VARIANTS if name not in ("videopool", "compiled")]
    parser.add_argument(
        "--variants", nargs="*", choices=others, default=others, help="what to time in addition to videopool"
    )
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="time the compiled form too (slow)")
    parser.add_argument(
        "--memory",
        choices=MALLOC_SETTINGS,
        default="new",
        help="memory of new CPU tensors: new pages, reused pages, or malloc's choice (new)",
    )
    parser.add_argument("--rounds", type=positive, default=5, help="least number of rounds per cell (5)")
    parser.add_argument("--seconds", type=duration, default=3.0, help="add rounds until a cell takes this long (3)")
    parser.add_argument("--json", type=Path, help="write all measurements to this file")
    parser.add_argument("--to", type=Path, help="write the tables to this Markdown file")
    parser.add_argument("--chart", type=Path, help="draw the chart as PNG and SVG with this name")
    parser.add_argument(
        "--from", dest="read", nargs="+", type=Path, default=[], help="read these --json files and measure nothing"
    )


if __name__ == "__main__":
    sys.exit(run_command("videopool benchmark ops", sys.modules[__name__], sys.argv[1:]))
