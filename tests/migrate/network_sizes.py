"""Parameters of bottleneck ResNets, counted from their description, and published parameters of others."""

from __future__ import annotations

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
# Frames that the stem and the first convolutions of the blocks of each stage see (Wang et al. 2018, Feichtenhofer et
# al. 2019). The blocks of a stage repeat the row.
KERNELS = {
    "c2d": (1, (1,), (1,), (1,), (1,)),
    "slow": (1, (1,), (1,), (3,), (3,)),
    "fast": (5, (3,), (3,), (3,), (3,)),
    "i3d": (5, (3,), (3, 1), (3, 1), (1, 3)),
}
# In millions, of the model zoo of pytorchvideo, with 400 classes.
PUBLISHED = {
    "Kinetics/pytorchvideo/C2D_8x8_R50": 24.33,
    "Kinetics/pytorchvideo/I3D_8x8_R50": 28.04,
    "Kinetics/pytorchvideo/SLOW_4x16_R50": 32.45,
    "Kinetics/pytorchvideo/SLOW_8x8_R50": 32.45,
    "Kinetics/pytorchvideo/SLOWFAST_4x16_R50": 34.48,
    "Kinetics/pytorchvideo/SLOWFAST_8x8_R50": 34.57,
    "Kinetics/pytorchvideo/SLOWFAST_8x8_R101": 62.83,
    "Kinetics/pytorchvideo/SLOWFAST_16x8_R101_50_50": 53.77,
    "Kinetics/pytorchvideo/CSN_32x2_R101": 22.21,
    "Kinetics/pytorchvideo/R2PLUS1D_16x4_R50": 28.11,
    "Kinetics/pytorchvideo/X3D_XS": 3.79,
    "Kinetics/pytorchvideo/X3D_S": 3.79,
    "Kinetics/pytorchvideo/X3D_M": 3.79,
    "Kinetics/pytorchvideo/X3D_L": 6.15,
    "Kinetics/X3D_XS": 3.79,
    "Kinetics/X3D_S": 3.79,
    "Kinetics/X3D_M": 3.79,
    "Kinetics/X3D_L": 6.15,
}


def resnet(kind: str, depth: int, classes: int) -> int:
    """Return the parameters of C2D, I3D or Slow."""
    return sum(_stages(kind, BLOCKS[depth], 64)) + 2048 * classes + classes


def slowfast(depth: int, kernel: int, temporal: int, classes: int) -> int:
    """Return the parameters of SlowFast with 1/8 of the channels in the fast pathway.

    ``temporal`` blocks of the third stage have convolutions in time, in both pathways.
    """
    blocks = BLOCKS[depth]
    fused = (8, 32, 64, 128)  # channels of the fast pathway where it is fused: after the stem and three stages
    slow = _stages("slow", blocks, 64, [2 * channels for channels in fused], temporal)
    fast = _stages("fast", blocks, 8, temporal=temporal)
    fusion = sum(channels * 2 * channels * kernel + 2 * 2 * channels for channels in fused)
    return sum(slow) + sum(fast) + fusion + (2048 + 256) * classes + classes


def _stages(
    kind: str, blocks: tuple[int, ...], width: int, fused: list[int] | None = None, temporal: int | None = None
) -> list[int]:
    stem, *rows = KERNELS[kind]
    sizes, before = [3 * width * stem * 49 + 2 * width], width
    for stage, (count, row) in enumerate(zip(blocks, rows, strict=True)):
        after = 4 * width * 2**stage
        first = before + (fused[stage] if fused else 0)
        seen = [row[block % len(row)] for block in range(count)]
        if stage == 2 and temporal is not None:
            seen[temporal:] = [1] * (count - temporal)
        sizes += [_block(first if block == 0 else after, after, seen[block], block == 0) for block in range(count)]
        before = after
    return sizes


def _block(before: int, after: int, frames: int, first: bool) -> int:
    inner = after // 4
    shortcut = before * after + 2 * after if first else 0
    return before * inner * frames + 9 * inner * inner + inner * after + 2 * (2 * inner + after) + shortcut
