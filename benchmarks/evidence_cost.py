"""Measure the time and the memory of a training step of the networks of docs/evidence.md, with every pooling method.

    python -m benchmarks.evidence_cost --to benchmarks/results/DATE-MACHINE-evidence-cost.json

All methods take turns in one process, on random clips of the size of the recipe. ``saved`` is the memory of all
tensors that the forward pass keeps for the backward pass, each counted once; it does not depend on the machine. Times
mean something only if nothing else runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.timing import Run, cpu_clock, processor_name, spread, time_undisturbed
from videopool.config import Config
from videopool.config.comparison import load_comparison
from videopool.engine.builders.parts import build_model
from videopool.engine.step.memory_order import channels_last
from videopool.files import write_text

COMPARISONS = {
    "words": ("evidence/compare_words", "evidence/compare_words_more"),
    "images": ("evidence/compare_images", "evidence/compare_images_more"),
}
CLASSES = {"words": 51, "images": 10}


def configs_of(name: str) -> dict[str, Config]:
    """Return the configuration of every method of the comparisons on the data set ``name``."""
    return {method: config for file in COMPARISONS[name] for method, config in load_comparison(file).configs.items()}


def training_step(config: Config, classes: int) -> Callable[[], nn.Module]:
    """Return a function that does one training step on random clips, and returns the network."""
    model, _ = build_model(config, [str(number) for number in range(classes)])
    model = channels_last(model.train())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    size = (config.train.batch, 3, config.clip.frames, config.clip.crop, config.clip.crop)
    clips = torch.randn(size, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(config.train.batch) % classes

    def step() -> nn.Module:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(clips), labels).backward()
        optimizer.step()
        return model

    return step


def saved_bytes(step: Callable[[], nn.Module]) -> int:
    """Return the bytes of the tensors that one step keeps for its backward pass, without the parameters."""
    storages: dict[int, int] = {}
    parameters = {parameter.untyped_storage().data_ptr() for parameter in step().parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(storages.values())


def measure(name: str, *, rounds: int, seconds: float) -> list[dict[str, object]]:
    """Return the time and memory of a step for each method on the data set ``name``."""
    steps = {method: training_step(config, CLASSES[name]) for method, config in configs_of(name).items()}
    runs: dict[str, Run] = {method: functools.partial(_run, step) for method, step in steps.items()}
    times, others = time_undisturbed(runs, cpu_clock, rounds=rounds, seconds=seconds, warm_up=2)
    return [
        {
            "data": name,
            "method": method,
            **dataclasses.asdict(spread(times[method])),
            "saved": saved_bytes(step),
            "other_work": others,
        }
        for method, step in steps.items()
    ]


def _run(step: Callable[[], nn.Module], turn: int) -> None:
    step()


def main() -> None:
    """Measure all methods on both data sets, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True, metavar="FILE.json", help="file of the results")
    parser.add_argument("--rounds", type=int, default=15, help="steps of each method at least (default: 15)")
    parser.add_argument("--seconds", type=float, default=60, help="seconds for a data set at least (default: 60)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = [row for name in COMPARISONS for row in measure(name, rounds=arguments.rounds, seconds=arguments.seconds)]
    write_text(
        arguments.to,
        json.dumps({"machine": f"{processor_name()}, {arguments.threads} thread(s)", "rows": rows}, indent=1) + "\n",
    )


if __name__ == "__main__":
    main()
