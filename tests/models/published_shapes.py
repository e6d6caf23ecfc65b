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


IMAGE = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def torchvision_image(depth: int, classes: int) -> Shapes:
    """Return the tensors of torchvision's ResNets for images."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64)}
    before = 64
    for stage, count in enumerate(IMAGE[depth], start=1):
        inner = 64 * 2 ** (stage - 1)
        after = inner if depth < 50 else 4 * inner
        for block in range(count):
            path = f"layer{stage}.{block}"
            plan = [(before, inner, 3), (inner, inner, 3)]
            plan = plan if depth < 50 else [(before, inner, 1), (inner, inner, 3), (inner, after, 1)]
            for number, (channels_in, channels, kernel) in enumerate(plan, start=1):
                shapes[f"{path}.conv{number}.weight"] = (channels, channels_in, kernel, kernel)
                shapes |= norm(f"{path}.bn{number}", channels)
            if block == 0 and (before != after or stage > 1):
                shapes[f"{path}.downsample.0.weight"] = (after, before, 1, 1)
                shapes |= norm(f"{path}.downsample.1", after)
            before = after
    return {**shapes, "fc.weight": (classes, before), "fc.bias": (classes,)}


# Channels and frames of the stem, and frames of the first convolution of the blocks of each stage, for each pathway.
PATHWAYS = {
    "slow": [(64, 1, ((1,), (1,), (3,), (3,)))],
    "c2d": [(64, 1, ((1,), (1,), (1,), (1,)))],
    "i3d": [(64, 5, ((3,), (3, 1), (3, 1), (1, 3)))],
    "slowfast": [(64, 1, ((1,), (1,), (3,), (3,))), (8, 5, ((3,), (3,), (3,), (3,)))],
}


def pyslowfast(
    arch: str, classes: int = 400, *, depth: int = 50, fusion_kernel: int = 7, temporal_blocks: int = 36
) -> Shapes:
    """Return the tensors of PySlowFast's Slow, C2D, I3D and SlowFast.

    Blocks of the third stage from ``temporal_blocks`` on see one frame, as in SlowFast 16x8 R101, where it is 6.
    """
    shapes: Shapes = {}
    fast = PATHWAYS[arch][1][0] if arch == "slowfast" else 0
    for index, (width, frames, kernels) in enumerate(PATHWAYS[arch]):
        stem = f"s1.pathway{index}_stem"
        shapes |= {f"{stem}.conv.weight": (width, 3, frames, 7, 7), **norm(f"{stem}.bn", width)}
        before = width
        for stage, count in enumerate(IMAGE[depth]):
            inner, lateral = width * 2**stage, 2 * fast * (4 * 2 ** (stage - 1) if stage else 1) if index == 0 else 0
            for block in range(count):
                path = f"s{stage + 2}.pathway{index}_res{block}"
                enters, after = before + (int(lateral) if block == 0 else 0), 4 * inner
                time = kernels[stage][block % len(kernels[stage])] if stage != 2 or block < temporal_blocks else 1
                if block == 0:
                    shapes |= {f"{path}.branch1.weight": (after, enters, 1, 1, 1), **norm(f"{path}.branch1_bn", after)}
                shapes |= {f"{path}.branch2.a.weight": (inner, enters, time, 1, 1)}
                shapes |= {f"{path}.branch2.b.weight": (inner, inner, 1, 3, 3)}
                shapes |= {f"{path}.branch2.c.weight": (after, inner, 1, 1, 1)}
                for letter, channels in (("a", inner), ("b", inner), ("c", after)):
                    shapes |= norm(f"{path}.branch2.{letter}_bn", channels)
                before = after
    for stage in range(1, 5) if fast else ():
        channels = fast * (4 * 2 ** (stage - 2) if stage > 1 else 1)
        shapes[f"s{stage}_fuse.conv_f2s.weight"] = (2 * channels, channels, fusion_kernel, 1, 1)
        shapes |= norm(f"s{stage}_fuse.bn", 2 * channels)
    features = sum(32 * width for width, _, _ in PATHWAYS[arch])
    return {**shapes, "head.projection.weight": (classes, features), "head.projection.bias": (classes,)}


# Channels of a stage, inside its blocks, and of the squeeze in their squeeze-and-excitation.
X3D = ((24, 54, 8), (48, 108, 8), (96, 216, 16), (192, 432, 32))
X3D_BLOCKS = {"s": (3, 5, 11, 7), "l": (5, 10, 25, 15)}


def pyslowfast_x3d(classes: int = 400, size: str = "s") -> Shapes:
    """Return the tensors of PySlowFast's X3D; XS and M have the same as S."""
    stem = "s1.pathway0_stem"
    shapes: Shapes = {f"{stem}.conv_xy.weight": (24, 3, 1, 3, 3), f"{stem}.conv.weight": (24, 1, 5, 1, 1)}
    shapes |= norm(f"{stem}.bn", 24)
    before = 24
    for stage, (after, inner, squeeze) in enumerate(X3D):
        for block in range(X3D_BLOCKS[size][stage]):
            path = f"s{stage + 2}.pathway0_res{block}"
            if block == 0:
                shapes |= {f"{path}.branch1.weight": (after, before, 1, 1, 1), **norm(f"{path}.branch1_bn", after)}
            shapes[f"{path}.branch2.a.weight"] = (inner, before, 1, 1, 1)
            shapes[f"{path}.branch2.b.weight"] = (inner, 1, 3, 3, 3)
            shapes[f"{path}.branch2.c.weight"] = (after, inner, 1, 1, 1)
            for letter, channels in (("a", inner), ("b", inner), ("c", after)):
                shapes |= norm(f"{path}.branch2.{letter}_bn", channels)
            if block % 2 == 0:
                shapes |= squeeze_shapes(f"{path}.branch2.se", inner, squeeze)
            before = after
    shapes |= {"head.conv_5.weight": (432, 192, 1, 1, 1), **norm("head.conv_5_bn", 432)}
    shapes["head.lin_5.weight"] = (2048, 432, 1, 1, 1)
    return {**shapes, "head.projection.weight": (classes, 2048), "head.projection.bias": (classes,)}


def squeeze_shapes(path: str, channels: int, squeeze: int) -> Shapes:
    """Return the tensors of a squeeze-and-excitation."""
    return {
        f"{path}.fc1.weight": (squeeze, channels, 1, 1, 1),
        f"{path}.fc1.bias": (squeeze,),
        f"{path}.fc2.weight": (channels, squeeze, 1, 1, 1),
        f"{path}.fc2.bias": (channels,),
    }


def mmaction2_x3d(classes: int = 400) -> Shapes:
    """Return the tensors of mmaction2's X3D-S and X3D-M."""
    shapes: Shapes = {
        "backbone.conv1_s.conv.weight": (24, 3, 1, 3, 3),
        "backbone.conv1_t.conv.weight": (24, 1, 5, 1, 1),
    }
    shapes |= norm("backbone.conv1_t.bn", 24)
    before = 24
    for stage, (after, inner, squeeze) in enumerate(X3D, start=1):
        for block in range(X3D_BLOCKS["s"][stage - 1]):
            path = f"backbone.layer{stage}.{block}"
            plan = {
                "conv1": (inner, before, 1, 1, 1),
                "conv2": (inner, 1, 3, 3, 3),
                "conv3": (after, inner, 1, 1, 1),
            }
            plan |= {"downsample": (after, before, 1, 1, 1)} if block == 0 else {}
            for name, shape in plan.items():
                shapes |= {f"{path}.{name}.conv.weight": shape, **norm(f"{path}.{name}.bn", shape[0])}
            if block % 2 == 0:
                shapes |= squeeze_shapes(f"{path}.se_module", inner, squeeze)
            before = after
    shapes |= {"backbone.conv5.conv.weight": (432, 192, 1, 1, 1), **norm("backbone.conv5.bn", 432)}
    shapes["cls_head.fc1.weight"] = (2048, 432)
    return {**shapes, "cls_head.fc2.weight": (classes, 2048), "cls_head.fc2.bias": (classes,)}


def mmaction2_r2plus1d(classes: int = 400) -> Shapes:
    """Return the tensors of mmaction2's R(2+1)D-34."""
    shapes: Shapes = {}

    def factored(path: str, before: int, after: int, space: int, time: int) -> Shapes:
        mid = 3 * before * after * space**2 // (before * space**2 + 3 * after)
        return {
            f"{path}.conv.conv_s.weight": (mid, before, 1, space, space),
            **norm(f"{path}.conv.bn_s", mid),
            f"{path}.conv.conv_t.weight": (after, mid, time, 1, 1),
            **norm(f"{path}.bn", after),
        }

    shapes |= factored("backbone.conv1", 3, 64, 7, 3)
    before = 64
    for stage, count in enumerate(BASIC[34], start=1):
        after = 64 * 2 ** (stage - 1)
        for block in range(count):
            path = f"backbone.layer{stage}.{block}"
            shapes |= {
                **factored(f"{path}.conv1", before, after, 3, 3),
                **factored(f"{path}.conv2", after, after, 3, 3),
            }
            if block == 0 and stage > 1:
                shapes |= factored(f"{path}.downsample", before, after, 1, 1)
            before = after
    return {**shapes, "cls_head.fc_cls.weight": (classes, 512), "cls_head.fc_cls.bias": (classes,)}


def mmaction2_slowonly(classes: int = 400, depth: int = 50) -> Shapes:
    """Return the tensors of mmaction2's SlowOnly."""
    shapes: Shapes = {"backbone.conv1.conv.weight": (64, 3, 1, 7, 7), **norm("backbone.conv1.bn", 64)}
    before = 64
    for stage, count in enumerate(IMAGE[depth], start=1):
        inner = 64 * 2 ** (stage - 1)
        for block in range(count):
            time = 3 if stage > 2 else 1
            plan = {
                "conv1": (inner, before, time, 1, 1),
                "conv2": (inner, inner, 1, 3, 3),
                "conv3": (4 * inner, inner, 1, 1, 1),
            }
            plan |= {"downsample": (4 * inner, before, 1, 1, 1)} if block == 0 else {}
            for name, shape in plan.items():
                path = f"backbone.layer{stage}.{block}.{name}"
                shapes |= {f"{path}.conv.weight": shape, **norm(f"{path}.bn", shape[0])}
            before = 4 * inner
    return {**shapes, "cls_head.fc_cls.weight": (classes, before), "cls_head.fc_cls.bias": (classes,)}
