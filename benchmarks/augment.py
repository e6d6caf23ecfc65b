"""Times of the augmentations, on a batch at once and clip by clip.

    python -m benchmarks.augment [--shape B T H W] [--device cpu] [--to FILE.md]

All take turns in one process. "Clip by clip" is what workers would do, each clip by itself.
"""

from __future__ import annotations

import argparse
import datetime
import functools
from collections.abc import Callable, Hashable
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import Clock, CudaClock, Run, cpu_clock, spread, this_machine, undisturbed
from videopool.data.augment import ColourJitter, Erase, Mix, RandAugment
from videopool.data.augment.mix import mixed_clips
from videopool.files import written_whole

Change = Callable[[torch.Tensor, np.random.Generator], torch.Tensor]


def mixing(mix: Mix) -> Change:
    """The clips that ``mix`` makes; it needs a batch."""
    return lambda clips, rng: mixed_clips(clips, mix.draw(clips.shape, rng))


CHANGES: dict[str, Change] = {
    "colour": ColourJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    "rand_augment": RandAugment(operations=2, magnitude=7.0, deviation=0.5),
    "erase": Erase(1.0),
    "mixup": mixing(Mix(mixup=0.8)),
    "cutmix": mixing(Mix(cutmix=1.0)),
}
NEED_A_BATCH = ("mixup", "cutmix")


def batch_at_once(change: Change, clips: torch.Tensor, turn: int) -> object:
    return change(clips, np.random.default_rng(turn))


def clip_by_clip(change: Change, clips: torch.Tensor, turn: int) -> object:
    rng = np.random.default_rng(turn)
    return torch.cat([change(clip, rng) for clip in clips.split(1)])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--shape", type=int, nargs=4, default=[8, 8, 224, 224], metavar=("B", "T", "H", "W"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--to", type=Path, help="write the table to this Markdown file too")
    arguments = parser.parse_args()
    device, (batch, *rest) = torch.device(arguments.device), arguments.shape
    generator = torch.Generator().manual_seed(0)
    clips = torch.randint(0, 256, (batch, 3, *rest), generator=generator).to(torch.uint8).to(device)
    runs: dict[Hashable, Run] = {}
    for name, change in CHANGES.items():
        runs[name, "batch"] = functools.partial(batch_at_once, change, clips)
        if name not in NEED_A_BATCH:
            runs[name, "clips"] = functools.partial(clip_by_clip, change, clips)
    clock: Clock = CudaClock(burst=2) if device.type == "cuda" else cpu_clock
    times, others = undisturbed(runs, clock, rounds=arguments.rounds, seconds=0, warm_up=2)
    machine = this_machine(device, "malloc")
    lines = [
        "| augmentation | ms a batch | quartiles | ms a clip | clip by clip, of the batch |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in CHANGES:
        whole = spread(times[name, "batch"])
        ratio = "-"
        if (name, "clips") in times:
            ratio = f"{spread(times[name, 'clips']).median_ms / whole.median_ms:.2f}"
        quartiles = f"{whole.low_ms:.1f} to {whole.high_ms:.1f}"
        lines.append(f"| {name} | {whole.median_ms:.1f} | {quartiles} | {whole.median_ms / batch:.2f} | {ratio} |")
    shape = " ".join(map(str, arguments.shape))
    head = [
        f"# Augmentation of a batch: {machine.hardware}, {machine.threads} threads",
        "",
        f"    python -m benchmarks.augment --shape {shape} --device {arguments.device} --rounds {arguments.rounds}",
        "",
        f"{datetime.date.today().isoformat()}, torch {machine.torch}, uint8 clips {list(clips.shape)}; "
        f"other processes took at most {others:.0%} of the machine. Medians of {arguments.rounds} interleaved rounds.",
        "",
    ]
    print("\n".join(lines))
    if arguments.to is not None:
        with written_whole(arguments.to) as place:
            place.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
