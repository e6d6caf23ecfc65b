"""Time the pooling op beside a copy of as many bytes.

    python -m benchmarks.gpu_cells --to FILE.json [--device cpu --fraction 0.01]

For each window, layout, dtype and direction: the median time, the bytes that must move (each tensor once), and the
share of copy speed: the time in which copy_() moves as many bytes, over the time of the op. The file is written again
after each cell, so that a run that is cut short keeps what it has measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from videopool import ops
from videopool.files import write_text

SHAPE = (8, 64, 8, 112, 112)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last_3d}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CELL_SECONDS = 0.06


class Case(NamedTuple):
    """A window, the input, and the largest gradient."""

    name: str
    window: tuple
    shape: tuple[int, ...] = SHAPE
    spread: float = 1.0
    infinite: bool = False


CASES = [
    Case("2x2x2", (2, 2, 0)),
    Case("1x2x2", ((1, 2, 2), (1, 2, 2), 0)),
    Case("1x3x3 s2", ((1, 3, 3), (1, 2, 2), (0, 1, 1))),
    Case("3x3x3 s2", (3, 2, 1)),
    Case("3x3x3 s1", (3, 1, 1)),
    Case("2x7x7", ((2, 7, 7), (2, 7, 7), 0)),
    Case("global 4x7x7", ((4, 7, 7), 1, 0), (64, 2048, 4, 7, 7)),
    Case("1x3x3 s2, x * 20", ((1, 3, 3), (1, 2, 2), (0, 1, 1)), spread=20.0),
    Case("3x3x3 s1, x * 20", (3, 1, 1), spread=20.0),
    Case("3x3x3 s1, an infinity in grad", (3, 1, 1), infinite=True),
]


def median_seconds(run: Callable[[], Any], device: torch.device) -> float:
    """Return the median time of a run, over about CELL_SECONDS."""
    if device.type == "cpu":
        run()
        begin = time.perf_counter()
        run()
        return time.perf_counter() - begin

    def timed(count: int) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(count):
            run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / count

    for _ in range(3):
        run()
    once = timed(2)
    count = max(1, int(CELL_SECONDS / 5 / once))
    return statistics.median(timed(count) for _ in range(5))


def copy_rate(device: torch.device, fraction: float) -> float:
    """Return the bytes a second that copy_() of random numbers reads and writes."""
    source = torch.randn(int(2**27 * fraction), device=device)
    target = torch.empty_like(source)
    return 2 * 4 * source.numel() / median_seconds(lambda: target.copy_(source), device)


def measure(case: Case, dtype: str, layout: str, device: torch.device, fraction: float) -> dict[str, dict[str, float]]:
    """Return the seconds and bytes of both directions."""
    shape = (max(1, int(case.shape[0] * fraction)), *case.shape[1:])
    x = (torch.randn(shape, device=device) * case.spread).to(DTYPES[dtype]).contiguous(memory_format=LAYOUTS[layout])
    leaf = x.requires_grad_()
    y = ops.soft_pool3d(leaf, *case.window)
    grad = torch.randn(y.shape, device=device).to(x.dtype).contiguous(memory_format=LAYOUTS[layout])
    if case.infinite:
        grad[0, 0, 0, 0, 0] = float("inf")
    size = x.element_size()
    with torch.no_grad():
        forward = median_seconds(lambda: ops.soft_pool3d(x, *case.window), device)
    backward = median_seconds(lambda: torch.autograd.grad(y, leaf, grad, retain_graph=True), device)
    return {
        "forward": {"seconds": forward, "bytes": size * (x.numel() + y.numel())},
        "backward": {"seconds": backward, "bytes": size * (2 * x.numel() + y.numel())},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the batch size (default: 1)")
    parser.add_argument("--to", type=Path, required=True, help="write the figures to this file")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    rate = copy_rate(device, arguments.fraction)
    cells: list[dict[str, Any]] = []
    print(f"{ops.backend()}; copy_ {rate / 1e12:.2f} TB/s")
    for case in CASES:
        for layout in LAYOUTS:
            for dtype in DTYPES:
                found = measure(case, dtype, layout, device, arguments.fraction)
                for direction, cell in found.items():
                    share = cell["bytes"] / rate / cell["seconds"]
                    cells.append(
                        {"window": case.name, "layout": layout, "dtype": dtype, "direction": direction, **cell}
                        | {"share_of_copy": share}
                    )
                    what = f"{case.name:32} {layout:14} {dtype:9} {direction:9}"
                    print(f"{what} {cell['seconds'] * 1e6:9.0f} us {share:5.2f}", flush=True)
                content = {"backend": ops.backend(), "torch": torch.__version__, "copy_bytes_per_second": rate}
                write_text(arguments.to, json.dumps(content | {"cells": cells}, indent=1) + "\n")


if __name__ == "__main__":
    main()
