"""Time each augmentation on a whole batch at once, clip by clip, and in kornia if it is installed.

    python -m benchmarks.augment [--device cuda] [--shape B T S] [--to FILE.md]

The variants take turns in one process, on uint8 clips [B,3,T,S,S] that are already on the device, with the same draws.
Each time ends when the device is done and includes launching the kernels. ``normalize`` is what every batch needs
anyway. kornia computes in floats; its times include the conversions from and to uint8, as ours do. It has no
autocontrast.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import importlib.util
import time
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.timing import (
    Clock,
    Machine,
    Run,
    add_page_argument,
    cpu_clock,
    set_memory,
    spread,
    this_machine,
    time_undisturbed,
    write_page,
)
from videopool.data.augment import OPERATIONS, AugMix, ColorJitter, Erase, Mix, RandAugment
from videopool.data.augment.augmix import mix_chains
from videopool.data.augment.color import JitterDraws, jitter
from videopool.data.augment.erase import cover_boxes
from videopool.data.augment.mix import mix_clips
from videopool.data.augment.rand_augment import RandDraws, apply_operations
from videopool.data.transforms import Normalize

FILL = (114.75, 114.75, 114.75)
MAGNITUDE = 9.0
JITTER = "color jitter 0.4 0.4 0.4 0.1"
Change = Callable[[torch.Tensor], torch.Tensor]


class Variants(NamedTuple):
    """One augmentation of a batch, computed in up to three ways. On a CPU, ``kornia`` takes one clip after another."""

    batch: Change
    by_clip: Change | None = None
    kornia: Change | None = None


def augmentations(shape: torch.Size, device: torch.device, *, with_kornia: bool) -> dict[str, Variants]:
    """Return every augmentation by name, with draws for a batch of ``shape`` [B,3,T,H,W]."""
    rng = np.random.default_rng(0)
    colors = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1).draw(shape[0], rng)
    draws = {name: operation_draws(name, shape[0], rng) for name in sorted(set(OPERATIONS) - {"identity"})}
    found = {
        "normalize": Variants(Normalize((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))),
        JITTER: two_variants(functools.partial(jitter, draws=colors), shape[0]),
        **{
            name: two_variants(functools.partial(apply_operations, draws=one, fill=FILL), shape[0])
            for name, one in draws.items()
        },
    }
    several = RandAugment(2, MAGNITUDE, 0.5).draw(shape[0], rng)
    found["RandAugment, 2 operations"] = two_variants(
        functools.partial(apply_operations, draws=several, fill=FILL), shape[0]
    )
    chains = AugMix().draw(shape[0], rng)
    found["AugMix, 3 chains"] = two_variants(functools.partial(mix_chains, draws=chains, fill=FILL), shape[0])
    found["erase, chance 0.25"] = Variants(functools.partial(cover_boxes, boxes=Erase(0.25).draw(shape, rng)))
    found["mixup"] = two_variants(functools.partial(mix_clips, draws=Mix(mixup=0.8).draw(shape, rng)), shape[0])
    found["cutmix"] = Variants(functools.partial(mix_clips, draws=Mix(cutmix=1.0).draw(shape, rng)))
    if with_kornia:
        for name, change in kornia_changes(colors, draws, device).items():
            found[name] = found[name]._replace(kornia=change)
    return found


def operation_draws(name: str, clips: int, rng: np.random.Generator) -> RandDraws:
    """Return draws that apply one operation to all clips, at MAGNITUDE."""
    operation = OPERATIONS[name]
    side = rng.choice([-1.0, 1.0], size=clips) if operation.both_ways else np.ones(clips)
    strengths = operation.mildest + side * MAGNITUDE / 10 * (operation.strongest - operation.mildest)
    return RandDraws(np.full((1, clips), name), strengths.astype(np.float32)[None])


def two_variants(change: Callable[..., torch.Tensor], clips: int) -> Variants:
    """Return ``change`` applied to all ``clips`` at once, and to one after another."""
    return Variants(functools.partial(change, at_once=clips), functools.partial(change, at_once=1))


def kornia_changes(colors: JitterDraws, draws: dict[str, RandDraws], device: torch.device) -> dict[str, Change]:
    """Return kornia's equivalents of our augmentations, with the same draws."""
    from kornia import enhance
    from kornia.geometry import transform

    changes: dict[str, Any] = {
        "brightness": enhance.adjust_brightness_accumulative,
        "contrast": enhance.adjust_contrast_with_mean_subtraction,
        "saturation": enhance.adjust_saturation_with_gray_subtraction,
        "hue": lambda pictures, turns: enhance.adjust_hue(pictures, 2 * np.pi * turns),
    }

    def jittered(pictures: torch.Tensor, *strengths: torch.Tensor) -> torch.Tensor:
        for (name, _), strength in zip(colors, strengths, strict=True):
            pictures = changes[name](pictures, strength)
        return pictures

    of_clips = {  # take pictures float32 [N,3,T*H,W] in 0..1, with strengths [N]
        "brightness": changes["brightness"],
        "contrast": changes["contrast"],
        "color": changes["saturation"],
        "equalize": lambda pictures, none: enhance.equalize(pictures),
        "posterize": lambda pictures, bits: enhance.posterize(pictures, bits.round().int()),
        "solarize": lambda pictures, threshold: enhance.solarize(pictures, threshold / 256),
    }
    of_frames = {  # take pictures [N,3*T,H,W]
        "sharpness": enhance.sharpness,
        "rotate": transform.rotate,
        "shear_x": lambda pictures, s: transform.shear(pictures, torch.stack([s, 0 * s], 1)),
        "translate_x": lambda pictures, s: transform.translate(
            pictures, torch.stack([-s * pictures.shape[3], 0 * s], 1)
        ),
    }
    drawn = {name: [torch.from_numpy(one.strengths[0]).to(device)] for name, one in draws.items()}
    every = [torch.from_numpy(values).to(device) for _, values in colors]
    return {
        JITTER: from_uint8(jittered, every, frames=False),
        **{name: from_uint8(change, drawn[name], frames=False) for name, change in of_clips.items()},
        **{name: from_uint8(change, drawn[name], frames=True) for name, change in of_frames.items()},
    }


def from_uint8(change: Callable[..., torch.Tensor], strengths: list[torch.Tensor], *, frames: bool) -> Change:
    """Return ``change``, which takes pictures in 0..1, as a function of uint8 clips.

    A clip becomes a picture of three channels or, with ``frames``, of 3*T channels.
    """

    def changed(clips: torch.Tensor) -> torch.Tensor:
        size = 1 if clips.device.type == "cpu" else len(clips)
        result = torch.empty_like(clips)
        for start in range(0, len(clips), size):
            part = slice(start, start + size)
            pictures = clips[part].flatten(1, 2) if frames else clips[part].flatten(2, 3)
            levels = change(pictures.float().div_(255), *(strength[part] for strength in strengths))
            result[part] = levels.mul(255).round_().to(torch.uint8).view_as(result[part])
        return result

    return changed


def cuda_clock(name: Hashable, run: Run, turn: int) -> float:
    """Return the milliseconds from an idle GPU until it is done."""
    torch.cuda.synchronize()
    begin = time.perf_counter()
    run(turn)
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) * 1e3


def row(name: str, each: Variants, clips: torch.Tensor, rounds: int) -> tuple[str, float]:
    """Return one row of the table, and the share of the machine that other processes used."""
    if each.by_clip is not None and not torch.equal(each.batch(clips), each.by_clip(clips)):
        difference = (each.batch(clips).int() - each.by_clip(clips).int()).abs().max()
        assert difference <= 1, f"{name}: the results at once and clip by clip differ by {difference} levels"
    changes = {way: change for way, change in each._asdict().items() if change is not None}
    runs: dict[str, Run] = {way: functools.partial(apply_change, change, clips) for way, change in changes.items()}
    clock: Clock = cuda_clock if clips.device.type == "cuda" else cpu_clock
    times, others = time_undisturbed(runs, clock, rounds=rounds, seconds=0, warm_up=2)
    unit = spread(times["by_clip" if clips.device.type == "cpu" and "by_clip" in times else "batch"]).median_ms
    cells = []
    for way in Variants._fields:
        taken = spread(times[way]) if way in times else None
        cells += ["", "", ""] if taken is None else [
            f"{taken.median_ms:.2f}",
            f"{(taken.high_ms - taken.low_ms) / taken.median_ms:.0%}",
            f"{taken.median_ms / unit:.2f}",
        ]  # fmt: skip
    return f"| {name} | " + " | ".join(cells) + " |", others


def apply_change(change: Change, clips: torch.Tensor, turn: int) -> torch.Tensor:
    """Apply ``change`` to ``clips``; a run, so it takes a turn."""
    return change(clips)


def heading(arguments: argparse.Namespace, machine: Machine, others: float, kornia: str) -> list[str]:
    """Return the lines above the table: the command, the machine and the meaning of the columns."""
    batch, frames, side = arguments.shape
    command = f"--shape {batch} {frames} {side} --rounds {arguments.rounds} --device {arguments.device}"
    return [
        f"# Augmentation of a batch of clips, {machine.hardware}, {machine.threads} threads",
        "",
        f"    python -m benchmarks.augment {command}",
        "",
        f"{datetime.date.today().isoformat()}, torch {machine.torch}, kornia {kornia}, clips "
        f"{[batch, 3, frames, side, side]}, huge pages {machine.huge_pages}, memory {machine.memory}; other processes "
        f"used at most {others:.0%} of the machine. Medians in ms of {arguments.rounds} interleaved rounds; spread is "
        "the distance of the quartiles. Ratios are relative to what training does on this device (clip by clip on a "
        "CPU, a batch at once on a GPU). Each operation of RandAugment is applied to all clips, at magnitude "
        f"{MAGNITUDE:g}.",
        "",
        "| augmentation | batch | spread | ratio | clip by clip | spread | ratio | kornia | spread | ratio |",
        "|---" + "|---:" * 9 + "|",
    ]


def smooth_clips(batch: int, frames: int, side: int) -> torch.Tensor:
    """Return clips uint8 [B,3,T,S,S] of smooth random patches."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (batch, 3 * frames, max(side // 8, 1), max(side // 8, 1)), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse.float(), size=(side, side), mode="bilinear")
    return smooth.to(torch.uint8).view(batch, 3, frames, side, side)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shape", type=int, nargs=3, default=[8, 16, 112], metavar=("B", "T", "S"))
    parser.add_argument("--rounds", type=int, default=15)
    add_page_argument(parser)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    machine = this_machine(device, set_memory("new") if device.type == "cpu" else "CUDA")
    with_kornia = importlib.util.find_spec("kornia") is not None
    version = importlib.import_module("kornia").__version__ if with_kornia else "not installed"
    clips = smooth_clips(*arguments.shape).to(device)
    lines, most = [], 0.0
    for name, each in augmentations(clips.shape, device, with_kornia=with_kornia).items():
        line, others = row(name, each, clips, arguments.rounds)
        lines, most = [*lines, line], max(most, others)
        print(line, flush=True)
    write_page([*heading(arguments, machine, most, version), *lines], arguments.to)


if __name__ == "__main__":
    main()
