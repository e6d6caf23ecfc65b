"""Times SoftPool against torch's pooling, forward and backward, on one device.

All variants take turns in one process, so that what disturbs one disturbs all; compare the ratios to ``clone``,
not the milliseconds of different machines. ``composed`` is avg_pool(exp(x) * x) / avg_pool(exp(x)), the usual form
in plain torch.

    python benchmarks/pooling.py [--device cuda] [--dtype bfloat16] [--channels-last] [--to FILE.md]
"""

from __future__ import annotations

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from videopool import ops

Pool = Callable[[torch.Tensor], torch.Tensor]

WINDOWS = {
    "2x2x2 s2": ((2, 2, 2), (2, 2, 2), (0, 0, 0)),
    "1x3x3 s122 p011": ((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    "3x3x3 s2 p1": ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    "3x3x3 s1 p1": ((3, 3, 3), (1, 1, 1), (1, 1, 1)),
}


def variants(window: tuple[tuple[int, ...], ...]) -> dict[str, Pool]:
    def composed(x: torch.Tensor) -> torch.Tensor:
        e = x.exp()
        return F.avg_pool3d(e * x, *window) / F.avg_pool3d(e, *window)

    return {
        "clone": torch.clone,
        "videopool": lambda x: ops.soft_pool3d(x, *window),
        "max_pool3d": lambda x: F.max_pool3d(x, *window),
        "avg_pool3d": lambda x: F.avg_pool3d(x, *window),
        "composed": composed,
    }


def clock(device: torch.device, run: Callable[[], object]) -> float:
    """Milliseconds of one run; on CUDA between two events on the stream."""
    if device.type != "cuda":
        begin = time.perf_counter()
        run()
        return (time.perf_counter() - begin) * 1e3
    begin_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin_event.record()
    run()
    end_event.record()
    end_event.synchronize()
    return begin_event.elapsed_time(end_event)


def forward_run(pool: Pool, x: torch.Tensor) -> Callable[[], object]:
    def run() -> torch.Tensor:
        with torch.no_grad():
            return pool(x)

    return run


def backward_run(pool: Pool, x: torch.Tensor) -> Callable[[], object]:
    leaf = x.detach().clone().requires_grad_()
    y = pool(leaf)
    grad = torch.randn_like(y)
    return lambda: torch.autograd.grad(y, leaf, grad, retain_graph=True)


def measure(device: torch.device, runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each variant in every round, after three rounds that do not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 3):
        for name, run in runs.items():
            taken = clock(device, run)
            if number >= 3:
                times[name].append(taken)
    return times


def rows(label: str, times: dict[str, list[float]]) -> list[str]:
    unit = statistics.median(times["clone"])
    lines = []
    for name, taken in times.items():
        quarters = statistics.quantiles(taken, n=4)
        middle = statistics.median(taken)
        spread = (quarters[2] - quarters[0]) / middle
        lines.append(f"| {label} | {name} | {middle:.3f} | {100 * spread:.0f} % | {middle / unit:.2f} |")
    return lines


def report(arguments: argparse.Namespace) -> str:
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    x = torch.randn(arguments.shape, device=device).to(dtype)
    if arguments.channels_last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    hardware = (
        torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.processor() or platform.machine()}"
    )
    layout = "channels_last_3d" if arguments.channels_last else "contiguous"
    lines = [
        f"## Pooling on {hardware}, {datetime.date.today().isoformat()}",
        "",
        f"x {list(x.shape)} {arguments.dtype} {layout}; {torch.get_num_threads()} threads; torch {torch.__version__}; "
        f"videopool.ops: {ops.backend()}; {arguments.rounds} rounds, variants interleaved.",
        "",
        "| window | variant | median ms | quartile spread | ratio to clone |",
        "|---|---|---:|---:|---:|",
    ]
    for name, window in WINDOWS.items():
        for direction, make in (("forward", forward_run), ("backward", backward_run)):
            runs = {variant: make(pool, x) for variant, pool in variants(window).items()}
            runs["clone"] = forward_run(torch.clone, x)  # the unit: its own backward pass does no work
            lines += rows(f"{name} {direction}", measure(device, runs, arguments.rounds))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float64", "float32", "float16", "bfloat16"])
    parser.add_argument("--shape", type=int, nargs=5, default=[4, 64, 16, 56, 56], metavar=tuple("NCDHW"))
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--to", type=Path, help="append the table to this markdown file")
    arguments = parser.parse_args()
    text = report(arguments)
    print(text)
    if arguments.to is not None:
        arguments.to.parent.mkdir(parents=True, exist_ok=True)
        with arguments.to.open("a") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
