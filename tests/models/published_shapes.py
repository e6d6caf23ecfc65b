"""Names and shapes of the tensors of published checkpoints, as rules."""

from __future__ import annotations

Shapes = dict[str, tuple[int, ...]]

BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def norm(path: str, channels: int) -> Shapes:
    """Return the tensors of a batch normalization."""
    tensors = {f"{path}.{name}": (channels,) for name in ("weight", "bias", "running_mean", "running_var")}
    return {**tensors, f"{path}.num_batches_tracked": ()}


def torchvision_video(name: str, depth: int, classes: int) -> Shapes:
    """Return the tensors of torchvision's r3d_18, mc3_18 and r2plus1d_18, and of 34 layers built in the same way."""
    factored = name == "r2plus1d"
    shapes: Shapes = {}
    if factored:
        shapes |= {"stem.0.weight": (45, 3, 1, 7, 7), **norm("stem.1", 45)}
        shapes |= {"stem.3.weight": (64, 45, 3, 1, 1), **norm("stem.4", 64)}
    else:
        shapes |= {"stem.0.weight": (64, 3, 3, 7, 7), **norm("stem.1", 64)}
    before = 64
    for stage, count in enumerate(BASIC[depth], start=1):
        after = 64 * 2 ** (stage - 1)
        kernel = (1, 3, 3) if name == "mc3" and stage > 1 else (3, 3, 3)
        for block in range(count):
            path, mid = f"layer{stage}.{block}", 27 * before * after // (9 * before + 3 * after)
            for number, channels_in in enumerate((before, after), start=1):
                conv = f"{path}.conv{number}"
                if factored:
                    shapes |= {f"{conv}.0.0.weight": (mid, channels_in, 1, 3, 3), **norm(f"{conv}.0.1", mid)}
                    shapes[f"{conv}.0.3.weight"] = (after, mid, 3, 1, 1)
                else:
                    shapes[f"{conv}.0.weight"] = (after, channels_in, *kernel)
                shapes |= norm(f"{conv}.1", after)
            if block == 0 and stage > 1:
                shapes[f"{path}.downsample.0.weight"] = (after, before, 1, 1, 1)
                shapes |= norm(f"{path}.downsample.1", after)
            before = after
    return {**shapes, "fc.weight": (classes, 512), "fc.bias": (classes,)}
