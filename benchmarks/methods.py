"""Measure the time and memory of every pooling method.

    python -m benchmarks.methods [--methods NAME ...] [--shape N C T H W] [--to FILE.md]

The methods come from comparison files, by path or shipped name. They take turns in one process, as initialized for
training. ``train`` is a forward and a backward pass, ``infer`` a forward pass in evaluation mode. ``kept`` are the
bytes that the forward pass keeps for the backward pass, ``peak`` the most bytes that one training pass holds beyond its
input, both as multiples of the input.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import nn

from benchmarks.pooling_cells import bytes_kept, peak_bytes
from benchmarks.timing import (
    Clock,
    CudaClock,
    Machine,
    Run,
    cpu_clock,
    set_memory,
    spread,
    this_machine,
    time_undisturbed,
    write_page,
)
from videopool.config.shipped import find_config
from videopool.files import atomic_write
from videopool.pooling import make_pool

METHOD_FILES = ["weizmann/compare_c3d", "weizmann/compare_c3d_more"]
REFERENCE = "max"
WINDOWS = {"2x2x2 s2": ((2, 2, 2), (2, 2, 2), (0, 0, 0)), "1x3x3 s122 p011": ((1, 3, 3), (1, 2, 2), (0, 1, 1))}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last_3d": torch.channels_last_3d}


class Row(NamedTuple):
    """The cost of one method at one window and layout: times in milliseconds, memory in multiples of the input."""

    window: str
    layout: str
    method: str
    train_ms: float
    train_spread: float  # distance of the quartiles divided by the median
    train_ratio: float  # relative to REFERENCE in the same run
    infer_ms: float
    infer_spread: float
    infer_ratio: float
    kept: float
    peak: float


def methods_of(files: Sequence[str | Path]) -> dict[str, Mapping[str, Any]]:
    """Return the methods of comparison files, given by path or shipped name, each method once."""
    return {
        name: keys
        for file in files
        for name, keys in yaml.safe_load(find_config(file).read_text(encoding="utf-8"))["methods"].items()
    }


def make_pools(methods: Mapping[str, Mapping[str, Any]], window: str, channels: int) -> dict[str, nn.Module]:
    """Return a layer for each of the ``methods``, with one of WINDOWS."""
    kernel, stride, padding = WINDOWS[window]
    made: dict[str, nn.Module] = {}
    for name, keys in methods.items():
        own = keys.get("pooling_arguments", {})
        made[name] = make_pool(keys["pooling"], 3, kernel, stride, padding, channels=channels, **own)
    return made


def train(pool: nn.Module, x: torch.Tensor, turn: int) -> None:
    """Run a forward and a backward pass, with gradients of the input and the parameters."""
    y = pool(x)
    torch.autograd.grad(y, [x, *pool.parameters()], torch.ones_like(y))


def infer(pool: nn.Module, x: torch.Tensor, turn: int) -> None:
    """Run a forward pass; ``pool`` is in evaluation mode."""
    with torch.no_grad():
        pool(x)


def rows(
    make: Callable[[], dict[str, nn.Module]], x: torch.Tensor, window: str, layout: str, rounds: int
) -> tuple[list[Row], float]:
    """Return a row for each layer, and the share of the machine that other processes used during the measurement."""
    ways = {"train": train, "infer": infer}
    layers = {way: {name: pool.to(x.device).train(way == "train") for name, pool in make().items()} for way in ways}
    runs: dict[Hashable, Run] = {
        (name, way): functools.partial(run, layers[way][name], x) for way, run in ways.items() for name in layers[way]
    }
    clock: Clock = CudaClock(burst=2) if x.device.type == "cuda" else cpu_clock
    times, others = time_undisturbed(runs, clock, rounds=rounds, seconds=0, warm_up=2)
    found = []
    for name, pool in layers["train"].items():
        cells: list[float] = []
        for way in ways:
            taken, unit = spread(times[name, way]), spread(times[REFERENCE, way]).median_ms
            cells += [taken.median_ms, (taken.high_ms - taken.low_ms) / taken.median_ms, taken.median_ms / unit]
        kept = bytes_kept(functools.partial(pool, x), (x, *pool.parameters()))
        peak = peak_bytes(functools.partial(train, pool, x), x.device)
        found.append(Row(window, layout, name, *cells, kept=kept / x.nbytes, peak=peak / x.nbytes))
    return found, others


def table(found: list[Row]) -> list[str]:
    """Return a Markdown table for each window and layout."""
    lines: list[str] = []
    for window, layout in dict.fromkeys((row.window, row.layout) for row in found):
        lines += ["", f"## {window}, {layout}", ""]
        lines += [
            f"| method | train, ms | spread | of {REFERENCE} | infer, ms | spread | of {REFERENCE} | kept | peak |"
        ]
        lines += ["|---|" + "---:|" * 8]
        for row in found:
            if (row.window, row.layout) == (window, layout):
                lines.append(
                    f"| {row.method} | {row.train_ms:.2f} | {row.train_spread:.0%} | {row.train_ratio:.2f} | "
                    f"{row.infer_ms:.2f} | {row.infer_spread:.0%} | {row.infer_ratio:.2f} | "
                    f"{row.kept:.2f} | {row.peak:.2f} |"
                )
    return lines


def heading(arguments: argparse.Namespace, machine: Machine, others: float) -> list[str]:
    """Return the lines above the tables: the command, the machine and the meaning of the columns."""
    shape = " ".join(map(str, arguments.shape))
    command = f"python -m benchmarks.methods --shape {shape} --rounds {arguments.rounds} --device {arguments.device}"
    return [
        f"# Every pooling method: time and memory, {machine.hardware}, {machine.threads} threads",
        "",
        f"    {command} --methods {' '.join(arguments.methods)}",
        "",
        f"{datetime.date.today().isoformat()}, torch {machine.torch}, float32 input of shape {arguments.shape}, "
        f"huge pages {machine.huge_pages}, memory {machine.memory}; other processes used at most {others:.0%} of the "
        f"machine. Medians of {arguments.rounds} interleaved rounds; spread is the distance of the quartiles. `kept`: "
        "bytes kept from the forward to the backward pass; `peak`: the most bytes that a training pass holds; both as "
        "multiples of the input.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--methods", nargs="+", default=METHOD_FILES, metavar="NAME", help="comparison files")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", type=int, nargs=5, default=[4, 64, 8, 56, 56], metavar=("N", "C", "T", "H", "W"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--to", type=Path, help="write the tables to this Markdown file, and the numbers as JSON next to it"
    )
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    methods = methods_of(arguments.methods)
    machine = this_machine(device, set_memory("new") if device.type == "cpu" else "CUDA")
    found: list[Row] = []
    most = 0.0
    for window in WINDOWS:
        for layout, order in LAYOUTS.items():
            torch.manual_seed(0)
            x = torch.relu(torch.randn(arguments.shape, device=device)).contiguous(memory_format=order).requires_grad_()
            more, others = rows(
                functools.partial(make_pools, methods, window, arguments.shape[1]), x, window, layout, arguments.rounds
            )
            found, most = found + more, max(most, others)
            print("\n".join(table(more)), flush=True)
    write_page([*heading(arguments, machine, most), *table(found)], arguments.to)
    if arguments.to is not None:
        with atomic_write(arguments.to.with_suffix(".json")) as path:
            path.write_text(json.dumps([row._asdict() for row in found], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
