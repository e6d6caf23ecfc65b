"""The depths of networks of bottleneck blocks that pytorchvideo builds."""

from __future__ import annotations

from torch import nn

from videopool.errors import InputError

# Blocks of the four stages; 14 and 26 are ResNet-50 with its stages cut short.
STAGE_BLOCKS = {
    14: (1, 1, 1, 1),
    26: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def check_bottlenecks(name: str, depth: int, width: int) -> None:
    """Raise ``InputError`` for a depth that the network ``name`` does not have, and for a width below 1."""
    if depth not in STAGE_BLOCKS or width < 1:
        raise InputError(
            f"{name} cannot be built with depth={depth}, width={width}. depth must be one of "
            f"{', '.join(map(str, STAGE_BLOCKS))}, and width 1 or more.",
            setting="arguments",
        )


def published_depth(depth: int) -> int:
    """Return the depth that pytorchvideo builds, from which ``cut_stages`` makes ``depth``."""
    return max(depth, 50)


def cut_stages(blocks: nn.ModuleList, depth: int) -> None:
    """Keep as many residual blocks in each stage of ``blocks``, in place, as a network of ``depth`` layers has."""
    stages = [block for block in blocks if hasattr(block, "res_blocks")]
    for stage, count in zip(stages, STAGE_BLOCKS[depth], strict=True):
        assert isinstance(stage.res_blocks, nn.ModuleList)
        stage.res_blocks = stage.res_blocks[:count]
