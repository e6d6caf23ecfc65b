"""Count the memory that a training step needs for activations, with and without activation checkpointing.

    python -m benchmarks.activation_checkpointing [--networks c3d r2plus1d slowfast x3d] [--to FILE.md]

Nothing is timed: the numbers are bytes of tensors, of one clip in float32, and do not depend on the machine.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import itertools
import weakref
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.timing import add_page_argument, write_page
from videopool import models
from videopool.engine.step.recompute import checkpoint_stages

# The published sizes.
NETWORKS: dict[str, dict[str, Any]] = {
    "c3d": {"frames": 16, "crop": 112, "width": 64, "depth": 5, "convs": (1, 1, 2, 2, 2), "stem_stride": 1},
    "r2plus1d": {"frames": 16, "crop": 224},
    "slowfast": {"frames": 32, "crop": 224},
    "x3d": {"frames": 13, "crop": 160},
}


class Memory(TorchDispatchMode):
    """Records the storages that operations in a ``with`` block allocate and free.

    Attributes:
        events: (number of a storage, its bytes), negative when it is freed, in their order.
    """

    def __init__(self, known: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.events: list[tuple[int, int]] = []
        self.numbers = {tensor.untyped_storage()._cdata: -1 for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self.numbers:
            number, size = len(self.events), storage.nbytes()
            self.numbers[key] = number
            self.events.append((number, size))
            weakref.finalize(storage, self._forget, key, number, size)

    def _forget(self, key: int, number: int, size: int) -> None:
        del self.numbers[key]
        self.events.append((number, -size))

    def curve(self, without: Collection[int]) -> list[int]:
        """Return the bytes in use after each event, without those of the storages ``without``."""
        return [*itertools.accumulate(size for number, size in self.events if number not in without)]


def step_bytes(model: nn.Module, clips: torch.Tensor) -> tuple[int, int]:
    """Return the bytes of activations after a forward pass, and the most during it and its backward pass.

    Parameters, their gradients, buffers and ``clips`` do not count.
    """
    with Memory([clips, *model.state_dict().values()]) as memory:
        loss = model(clips).sum()
        forward = len(memory.events)
        loss.backward()
        gradients = [parameter.grad.untyped_storage()._cdata for parameter in model.parameters()]
        own = {memory.numbers[key] for key in gradients}
    after = [size for number, size in memory.events[:forward] if number not in own]
    return sum(after), max(memory.curve(own))


def measure(model: nn.Module, clips: torch.Tensor) -> dict[str, tuple[int, int]]:
    """Return ``step_bytes`` of the network, and with its first two stages and with all of them checkpointed."""
    stages = checkpoint_stages(copy.deepcopy(model), ["*"])
    chosen = {"none": (), f"{', '.join(stages[:2])}": stages[:2], "all (`'*'`)": stages}
    return {name: step_bytes(checkpointed(model, each), clips) for name, each in chosen.items()}


def checkpointed(model: nn.Module, stages: Sequence[str]) -> nn.Module:
    """Return a copy of ``model`` whose ``stages`` run again in the backward pass."""
    copied = copy.deepcopy(model)
    checkpoint_stages(copied, stages)
    return copied


def table(names: Sequence[str]) -> list[str]:
    """Return the lines of the table for the networks ``names``."""
    lines = [
        "| network | clip | checkpointed stages | after forward, MiB | of none | peak of the step, MiB | of none |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for name in names:
        torch.manual_seed(0)
        size = NETWORKS[name]
        model = models.build(name, classes=400, pooling="soft", fuse_relu=True, **size).train()
        shape = (size["frames"], size["crop"], size["crop"])
        found = measure(model, torch.randn(1, 3, *shape))
        plain = found["none"]
        for stages, (kept, peak) in found.items():
            numbers = f"{kept / 2**20:,.0f} | {kept / plain[0]:.2f} | {peak / 2**20:,.0f} | {peak / plain[1]:.2f}"
            lines.append(f"| {name} | {'x'.join(map(str, shape))} | {stages} | {numbers} |")
    return lines


def main() -> None:
    """Measure and print, or write to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    add_page_argument(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    head = f"{datetime.date.today()}, one clip, float32, SoftPool at the default sites, torch {torch.__version__}"
    text = "\n".join([head, "", *table(arguments.networks)])
    print(text)
    write_page(["# Memory of activations with activation checkpointing", "", text], arguments.to)


if __name__ == "__main__":
    main()
