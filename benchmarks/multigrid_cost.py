"""Steps, clips and arithmetic of multigrid training, relative to the training that it replaces. Nothing is trained.

``python benchmarks/multigrid_cost.py [--config NAME] [--videos N]`` prints a table in Markdown. The configuration names
the multigrid training; the baseline is the same one with ``train.multigrid=none``. FLOPs are counted by fvcore on the
network itself, for each shape of clips: one multiply-add is one, and a backward pass costs as much as two forward
passes in both trainings, so it cancels.
"""

from __future__ import annotations

import argparse
from collections import Counter

import torch

from videopool.config import Config, load
from videopool.data.steps import Stage, Steps
from videopool.engine.builders.multigrid import multigrid_of
from videopool.engine.builders.parts import build_model, clip_sampling
from videopool.engine.optimization.multigrid import Shape
from videopool.pooling import cost


def gflops(config: Config, shapes: tuple[Shape, ...]) -> dict[Shape, float]:
    """Return the GFLOPs of a forward pass on a clip of each shape."""
    model, _ = build_model(config, tuple(map(str, range(400))))
    found = {}
    for shape in shapes:
        clip = clip_sampling(config).smaller(frames=shape.frames, area=shape.area)
        found[shape] = cost(model, torch.empty(1, 3, clip.frames, clip.crop, clip.crop, device="meta")).flops / 1e9
    return found


def count_clips(stages: tuple[Stage, ...], clips: int, batch: int) -> tuple[int, Counter[int]]:
    """Return the steps of all stages, and the clips of each shape."""
    steps, seen, epoch = Steps(clips=clips, batch=batch, stages=stages), Counter[int](), 0
    for stage in stages:
        for inside in range(steps.count(epoch)):
            size = stage.cycle[inside % len(stage.cycle)]
            seen[size.shape] += batch * size.times * stage.epochs
        epoch += stage.epochs
    return steps.first(epoch), seen


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="kinetics400/slowfast_r50_8x8_multigrid")
    parser.add_argument("--videos", type=int, default=240_000)
    arguments = parser.parse_args()
    print("| cycles | epochs | steps | clips | PFLOPs forward | steps saved | arithmetic saved |")
    print("|---|---|---|---|---|---|---|")
    baseline = load(arguments.config, ["train.multigrid=none"])
    batch = baseline.train.batch
    each = gflops(load(arguments.config, []), tuple(Shape(f, a) for f in (1, 2, 4) for a in (1, 2, 4)))
    base_steps, seen = count_clips((Stage(baseline.train.epochs),), arguments.videos, batch)
    base_work = seen[0] * each[Shape()] / 1e6
    print(f"| none | {baseline.train.epochs} | {base_steps:,} | {seen.total():,} | {base_work:,.0f} | 1.0x | 1.0x |")
    for cycles in ("short", "long", "both"):
        plan = multigrid_of(load(arguments.config, [f"train.multigrid={cycles}"]))
        assert plan is not None
        steps, seen = count_clips(plan.stages, arguments.videos, batch)
        work = sum(count * each[plan.shapes[shape]] for shape, count in seen.items()) / 1e6
        saved = f"{base_steps / steps:.1f}x | {base_work / work:.1f}x"
        print(f"| {cycles} | {plan.epochs} | {steps:,} | {seen.total():,} | {work:,.0f} | {saved} |")
    print("\nGFLOPs of a clip, and of a step relative to the full shape:")
    for shape, count in each.items():
        clip = clip_sampling(baseline).smaller(frames=shape.frames, area=shape.area)
        print(f"{clip.frames}x{clip.crop}: {count:.2f}, {count * shape.times / each[Shape()]:.2f}")


if __name__ == "__main__":
    main()
