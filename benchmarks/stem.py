"""Time the stem of SlowFast (convolution, normalization, ReLU, pooling) with different pooling layers.

    python -m benchmarks.stem [--device cuda] [--shape N T S] [--to FILE.md]

``fused`` is SoftPool with the ReLU built in (videopool.pooling.fuse_relu). The variants take turns in one process.
"""

from __future__ import annotations

import argparse
import datetime
import functools
from collections.abc import Callable, Hashable

import torch
from torch import nn

from benchmarks.timing import Clock, CudaClock, Run, add_page_argument, cpu_clock, spread, time_interleaved, write_page
from videopool import ops
from videopool.pooling import fuse_relu

WINDOW = ((1, 3, 3), (1, 2, 2), (0, 1, 1))
POOLS: dict[str, Callable[[], nn.Module]] = {
    "max": lambda: nn.MaxPool3d(*WINDOW),
    "avg": lambda: nn.AvgPool3d(*WINDOW),
    "soft": lambda: ops.SoftPool3d(*WINDOW),
    "soft, fused": lambda: ops.SoftPool3d(*WINDOW),
}


def stem(pool: str) -> nn.Module:
    """Return the stem of the slow pathway, with 64 channels as in pytorchvideo."""
    conv = nn.Conv3d(3, 64, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
    layers = nn.Sequential(conv, nn.BatchNorm3d(64), nn.ReLU(inplace=True), POOLS[pool]())
    if pool == "soft, fused":
        fuse_relu(layers)
    return layers


def train(layers: nn.Module, x: torch.Tensor, turn: int) -> None:
    """Run a forward and a backward pass."""
    layers.train()
    y = layers(x)
    y.backward(torch.ones_like(y))


def infer(layers: nn.Module, x: torch.Tensor, turn: int) -> None:
    """Run a forward pass."""
    layers.eval()
    with torch.no_grad():
        layers(x)


def rows(device: torch.device, layout: torch.memory_format, shape: list[int], rounds: int) -> list[str]:
    """Return the rows of one memory layout."""
    batch, frames, side = shape
    x = torch.randn(batch, 3, frames, side, side, device=device).contiguous(memory_format=layout)
    stems = {name: stem(name).to(device) for name in POOLS}
    for layers in stems.values():
        layers.to(memory_format=layout)  # type: ignore[call-overload]
    runs: dict[Hashable, Run] = {
        (name, way.__name__): functools.partial(way, stems[name], x) for name in POOLS for way in (train, infer)
    }
    clock: Clock = CudaClock(burst=1) if device.type == "cuda" else cpu_clock
    times = time_interleaved(runs, clock, rounds=rounds, seconds=0, warm_up=2)
    lines = []
    for name in POOLS:
        cells = []
        for way in ("train", "infer"):
            taken, unit = spread(times[name, way]), spread(times["max", way]).median_ms
            width = 100 * (taken.high_ms - taken.low_ms) / taken.median_ms
            cells += [f"{taken.median_ms:.1f}", f"{width:.0f} %", f"{taken.median_ms / unit:.2f}"]
        label = "channels_last_3d" if layout == torch.channels_last_3d else "contiguous"
        lines.append(f"| {label} | {name} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", type=int, nargs=3, default=[2, 8, 224], metavar=("N", "T", "S"))
    parser.add_argument("--rounds", type=int, default=9)
    add_page_argument(parser)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    lines = [
        f"{datetime.date.today().isoformat()}, clips {arguments.shape}, {device}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, videopool.ops: {ops.backend()}, {arguments.rounds} rounds",
        "",
        "| layout | pool | training step, ms | spread | of max | inference, ms | spread | of max |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        lines += rows(device, layout, arguments.shape, arguments.rounds)
    text = "\n".join(lines) + "\n"
    print(text)
    write_page([text], arguments.to)


if __name__ == "__main__":
    main()
