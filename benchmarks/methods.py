"""Times and memory of every pooling method, side by side.

    python -m benchmarks.methods [--methods FILE ...] [--shape N C T H W] [--to FILE.md]

The methods, with their arguments and names, are those of comparisons' files. All take turns in one process, at the
state in which training begins. ``train`` is a forward pass with what backward needs and a backward pass, ``infer`` a
forward pass in evaluation mode. ``kept`` are the bytes that the forward pass keeps for the backward pass, ``peak`` the
most that one training pass holds beside its input, both as multiples of the input; a plain window halves every axis.
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
from benchmarks.timing import Clock, CudaClock, Machine, Run, cpu_clock, set_memory, spread, this_machine, undisturbed
from videopool.files import atomic_write
from videopool.pooling import make_pool

METHOD_FILES = [Path("configs/weizmann/compare_c3d.yaml"), Path("configs/weizmann/compare_c3d_more.yaml")]
REFERENCE = "max"
WINDOWS = {"2x2x2 s2": ((2, 2, 2), (2, 2, 2), (0, 0, 0)), "1x3x3 s122 p011": ((1, 3, 3), (1, 2, 2), (0, 1, 1))}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last_3d": torch.channels_last_3d}


class Row(NamedTuple):
    """What one method costs at one window and layout; times in milliseconds, memory in multiples of the input."""

    window: str
    layout: str
    method: str
    train_ms: float
    train_spread: float  # distance of the quartiles, as a part of the median
    train_ratio: float  # to REFERENCE in the same run
    infer_ms: float
    infer_spread: float
    infer_ratio: float
    kept: float
    peak: float


def methods_of(files: Sequence[Path]) -> dict[str, Mapping[str, Any]]:
    """The methods of some comparisons' files, each once."""
    return {
        name: keys
        for file in files
        for name, keys in yaml.safe_load(file.read_text(encoding="utf-8"))["methods"].items()
    }


def pools(methods: Mapping[str, Mapping[str, Any]], window: str, channels: int) -> dict[str, nn.Module]:
    """The layers of a comparison's ``methods`` for one of WINDOWS."""
    kernel, stride, padding = WINDOWS[window]
    made: dict[str, nn.Module] = {}
    for name, keys in methods.items():
        own = keys.get("pooling_arguments", {})
        made[name] = make_pool(keys["pooling"], 3, kernel, stride, padding, channels=channels, **own)
    return made


def train(pool: nn.Module, x: torch.Tensor, turn: int) -> None:
    """A forward and a backward pass; gradients of parameters are made anew."""
    y = pool(x)
    torch.autograd.grad(y, [x, *pool.parameters()], torch.ones_like(y))


def infer(pool: nn.Module, x: torch.Tensor, turn: int) -> None:
    """A forward pass alone; ``pool`` is in evaluation mode."""
    with torch.no_grad():
        pool(x)


def rows(
    make: Callable[[], dict[str, nn.Module]], x: torch.Tensor, window: str, layout: str, rounds: int
) -> tuple[list[Row], float]:
    """A row for each layer, and the share of the machine that others took while the times were measured."""
    ways = {"train": train, "infer": infer}
    layers = {way: {name: pool.to(x.device).train(way == "train") for name, pool in make().items()} for way in ways}
    runs: dict[Hashable, Run] = {
        (name, way): functools.partial(run, layers[way][name], x) for way, run in ways.items() for name in layers[way]
    }
    clock: Clock = CudaClock(burst=2) if x.device.type == "cuda" else cpu_clock
    times, others = undisturbed(runs, clock, rounds=rounds, seconds=0, warm_up=2)
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
    """One Markdown table for each window and layout."""
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
    """What was measured where, and by which command."""
    shape = " ".join(map(str, arguments.shape))
    command = f"python -m benchmarks.methods --shape {shape} --rounds {arguments.rounds} --device {arguments.device}"
    return [
        f"# Every pooling method: time and memory, {machine.hardware}, {machine.threads} threads",
        "",
        f"    {command} --methods {' '.join(map(str, arguments.methods))}",
        "",
        f"{datetime.date.today().isoformat()}, torch {machine.torch}, float32 input of shape {arguments.shape}, "
        f"huge pages {machine.huge_pages}, memory {machine.memory}; other processes took at most {others:.0%} of the "
        f"machine. Medians of {arguments.rounds} interleaved rounds; spread is the distance of the quartiles. `kept`: "
        "bytes held from forward to backward, `peak`: the most that a training pass holds, both as multiples of the "
        "input.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--methods", type=Path, nargs="+", default=METHOD_FILES, metavar="FILE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", type=int, nargs=5, default=[4, 64, 8, 56, 56], metavar=("N", "C", "T", "H", "W"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--to", type=Path, help="write the tables to this Markdown file, and their figures beside it as JSON"
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
                functools.partial(pools, methods, window, arguments.shape[1]), x, window, layout, arguments.rounds
            )
            found, most = found + more, max(most, others)
            print("\n".join(table(more)), flush=True)
    if arguments.to is not None:
        with atomic_write(arguments.to) as path:
            path.write_text("\n".join([*heading(arguments, machine, most), *table(found)]) + "\n", encoding="utf-8")
        with atomic_write(arguments.to.with_suffix(".json")) as path:
            path.write_text(json.dumps([row._asdict() for row in found], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
