"""Times SoftPool against torch's pooling: forward, backward and both, over windows, shapes, layouts and dtypes.

All variants take turns in one process, in a balanced order and over several inputs, so that what disturbs one disturbs
all: compare the ratios to clone, not the milliseconds of different machines. ``composed`` is SoftPool in plain torch,
avg_pool(exp(x) * x) / avg_pool(exp(x)); ``compiled`` is the same under torch.compile.

    python benchmarks/pooling.py                                 one shape in float32, some 3 minutes on 2 cores
    python benchmarks/pooling.py --full --json all.json --to all.md --chart all.png
    python benchmarks/pooling.py --full --dtypes float32 --json float32.json      a long run in parts ...
    python benchmarks/pooling.py --from float32.json bfloat16.json --to all.md    ... put together
"""

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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # read when torch is loaded; else its profiler writes two lines a use

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
from videopool.errors import InputError

QUICK_SHAPE = (4, 64, 16, 56, 56)


def main(arguments: argparse.Namespace) -> None:
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
        results = measured(arguments)
    text = pooling_report.markdown(results)
    print(text)
    if arguments.json:
        pooling_results.write(arguments.json, results)
    if arguments.to:
        pooling_results.write_text(arguments.to, text)
    if arguments.chart:
        pooling_chart.draw(arguments.chart, results)


def measured(arguments: argparse.Namespace) -> Results:
    """Measures the grid that was asked for; with --json, every cell is in the file once it is measured."""
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU here; use --device cpu")
    load_before = os.getloadavg()[0]
    torch.manual_seed(0)
    session = Session(command(sys.argv[1:]), datetime.date.today().isoformat(), load_before)
    results = Results(this_machine(device, set_memory(arguments.memory)), ops.backend(), (session,), ())
    for cell in cells(arguments, device, results.machine.cache_bytes):
        results = Results(results.machine, results.backend, results.sessions, (*results.cells, cell))
        if arguments.json:
            pooling_results.write(arguments.json, results)
        print(progress(cell), file=sys.stderr, flush=True)
    return results


def cells(arguments: argparse.Namespace, device: torch.device, cache_bytes: int) -> Iterator[Cell]:
    """The cells of the grid; the memory is measured at the largest shape."""
    windows = arguments.windows or list(WINDOWS)
    # From large to small: what small tensors leave in the heap must not be found by large ones.
    shapes = sorted(arguments.shapes or (SHAPES if arguments.full else [QUICK_SHAPE]), key=math.prod, reverse=True)
    dtypes = arguments.dtypes or (list(DTYPES) if arguments.full else ["float32"])
    compiled = arguments.full if arguments.compile is None else arguments.compile
    names = [
        name for name in VARIANTS if name in ("videopool", *arguments.variants) or (name == "compiled" and compiled)
    ]
    for shape in shapes:
        for window in windows:
            if not fits(WINDOWS[window], shape):
                raise InputError(f"--shapes {shape_name(shape)} is smaller than --windows {window}; leave one out")
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
    """One line for whoever waits."""
    taken = {name: pooling_report.ms(cell, name, "both") for name in cell.times}
    shown = ", ".join(f"{name} {value:.3g}" for name, value in taken.items() if value)
    return f"{pooling_results.name(cell)}: both, ms: {shown} ({cell.rounds} rounds, others {100 * cell.others:.0f} %)"


def command(options: list[str]) -> str:
    """This command for whoever repeats it; where files lie on this machine says nothing to a reader."""
    return shlex.join(["python", "benchmarks/pooling.py", *(Path(option).name for option in options)])


def prepare_outputs(arguments: argparse.Namespace) -> None:
    """Finds out before the work, not after it, that a result could not be written."""
    for path in (arguments.json, arguments.to, arguments.chart):
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file in it")
        path.parent.mkdir(parents=True, exist_ok=True)
    if arguments.chart and importlib.util.find_spec("matplotlib") is None:
        raise InputError("--chart needs matplotlib: install it, or draw later from --json with --from")


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text}")
    return int(text)


def duration(text: str) -> float:
    if not text.replace(".", "", 1).isdecimal():
        raise argparse.ArgumentTypeError(f"expected seconds such as 0.5, got {text}")
    return float(text)


def shape(text: str) -> tuple[int, ...]:
    sizes = text.split("x")
    if len(sizes) != 5 or not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise argparse.ArgumentTypeError(f"expected five sizes NxCxDxHxW such as 4x64x16x56x56, got {text}")
    return tuple(map(int, sizes))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    made.add_argument("--full", action="store_true", help="all shapes, layouts and dtypes, and torch.compile")
    made.add_argument("--windows", nargs="+", choices=WINDOWS, default=[], metavar="W", help=", ".join(WINDOWS))
    shapes = ", ".join(map(shape_name, SHAPES))
    made.add_argument("--shapes", nargs="+", type=shape, default=[], metavar="NxCxDxHxW", help=f"in --full: {shapes}")
    made.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=[])
    made.add_argument("--dtypes", nargs="+", choices=DTYPES, default=[])
    others = [name for name in VARIANTS if name not in ("videopool", "compiled")]
    made.add_argument("--variants", nargs="*", choices=others, default=others, help="what to time beside videopool")
    made.add_argument("--compile", action=argparse.BooleanOptionalAction, help="the composed form compiled (slow)")
    made.add_argument(
        "--memory",
        choices=MALLOC_SETTINGS,
        default="new",
        help="where new tensors on the CPU lie: in new pages, in reused ones, or where malloc puts them",
    )
    made.add_argument("--rounds", type=positive, default=5, help="at least so many rounds of a cell")
    made.add_argument("--seconds", type=duration, default=3.0, help="more rounds until a cell took so long")
    made.add_argument("--json", type=Path, help="write all that was measured")
    made.add_argument("--to", type=Path, help="write the tables as Markdown")
    made.add_argument("--chart", type=Path, help="draw PNG and SVG under this name")
    made.add_argument(
        "--from", dest="read", nargs="+", type=Path, default=[], help="measure nothing: read --json files"
    )
    return made


def run() -> int:
    """Exit code 0 done, 2 what the user can mend, in one sentence."""
    arguments = parser().parse_args()
    try:
        main(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}; name another place, or mend this one", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(run())
