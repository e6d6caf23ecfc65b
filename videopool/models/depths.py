"""The depths of residual networks: blocks of their four stages."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from videopool.errors import InputError

BASIC_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
# 14 and 26 are ResNet-50 with its stages cut short.
BOTTLENECKS = {
    14: (1, 1, 1, 1),
    26: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def check_depth(name: str, depth: int, width: int, depths: Collection[int] = BOTTLENECKS) -> None:
    """Raise ``InputError`` for a depth of the network ``name`` that is not one of ``depths``, and a width below 1."""
    if depth not in depths or width < 1:
        raise InputError(
            f"{name} cannot be built with depth={depth}, width={width}. depth must be one of "
            f"{', '.join(map(str, depths))}, and width 1 or more.",
            setting="arguments",
        )


def published_depth(depth: int) -> int:
    """Return the depth that pytorchvideo builds, from which ``cut_stages`` makes ``depth``."""
    return max(depth, 50)


def cut_stages(blocks: nn.ModuleList, depth: int) -> None:
    """Keep as many residual blocks in each stage of ``blocks``, in place, as a network of ``depth`` layers has."""
    stages = [block for block in blocks if hasattr(block, "res_blocks")]
    for stage, count in zip(stages, BOTTLENECKS[depth], strict=True):
        assert isinstance(stage.res_blocks, nn.ModuleList)
        stage.res_blocks = stage.res_blocks[:count]
