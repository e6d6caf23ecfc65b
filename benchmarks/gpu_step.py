"""Time a training step with and without SoftPool: bfloat16, compiled, in CUDA graphs.

    python -m benchmarks.gpu_step --to FILE.json [--device cpu --forms eager]

SlowFast R50 where pytorchvideo is installed, else R3D-18, on random clips in channels-last memory. The networks take
turns in rounds of a few steps. On a processor, a small network takes one step.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from videopool import models, ops
from videopool.files import write_text

METHODS = ("none", "soft")  # none: the published max pooling
FORMS = {"eager": None, "compiled": "default", "CUDA graphs": "reduce-overhead"}
ROUNDS, STEPS = 7, 3


def build(method: str, device: torch.device) -> tuple[nn.Module, torch.Tensor]:
    """Return a network in training mode, and clips for it."""
    small = device.type == "cpu"
    name = "slowfast" if importlib.util.find_spec("pytorchvideo") else "r3d"
    frames, crop, batch = (16, 64, 2) if small else (32, 224, 16)
    arguments: dict[str, Any] = {"width": 16 if name == "slowfast" else 8} if small else {}
    network = models.build(name, classes=400, frames=frames, crop=crop, pooling=method, **arguments)
    network = network.to(device, memory_format=torch.channels_last_3d).train()
    clips = torch.randn(batch, 3, frames, crop, crop, device=device)
    return network, clips.contiguous(memory_format=torch.channels_last_3d)


def step_of(method: str, form: str, device: torch.device) -> Callable[[], None]:
    """Return a function that does one step."""
    torch.manual_seed(0)
    network, clips = build(method, device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)
    labels = torch.randint(0, 400, (len(clips),), device=device)
    run: Any = network
    if FORMS[form]:
        run = torch.compile(network, mode=FORMS[form] if device.type == "cuda" else "default")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16):
            logits = run(clips)
        functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    return step


def seconds_of(step: Callable[[], None], steps: int, device: torch.device) -> float:
    """Return the seconds of one of ``steps`` steps."""
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    wait()
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    return (time.perf_counter() - begin) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS), help="what to time (default: all)")
    parser.add_argument("--to", type=Path, required=True, help="write the figures to this file")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    rounds, steps = (ROUNDS, STEPS) if device.type == "cuda" else (1, 1)
    found: dict[str, Any] = {"backend": ops.backend(), "torch": torch.__version__, "forms": {}}
    for form in arguments.forms:
        runs = {method: step_of(method, form, device) for method in METHODS}
        for run in runs.values():
            seconds_of(run, 3 if device.type == "cuda" else 1, device)  # compiles
        times: dict[str, list[float]] = {method: [] for method in METHODS}
        for number in range(rounds):
            for method in METHODS[:: 1 if number % 2 else -1]:
                times[method].append(seconds_of(runs[method], steps, device))
        medians = {method: statistics.median(values) for method, values in times.items()}
        ratio = medians["soft"] / medians["none"]
        found["forms"][form] = {"seconds": times, "median_seconds": medians, "ratio": ratio}
        both = "  ".join(f"{method} {seconds * 1e3:.1f} ms" for method, seconds in medians.items())
        print(f"{form:12} {both}  ratio {ratio:.3f}", flush=True)
        write_text(arguments.to, json.dumps(found, indent=1) + "\n")
        if device.type == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
