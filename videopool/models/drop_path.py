"""Drop path: residual blocks that are left out at random in training.

Huang, Sun, Liu, Sedra, Weinberger, "Deep Networks with Stochastic Depth", ECCV 2016. Block l of L is left out with the
probability ``rate * l / L`` (section 3, linear decay), separately for each clip. For the other clips, its branch is
divided by the probability of being kept, so the expected sum is that of evaluation.
"""

from __future__ import annotations

import re

import torch
from torch import nn

from videopool.errors import InputError

# What the residual blocks of pytorchvideo and of ``models.resnet`` call with their shortcut and their branch.
_SUM = "branch_fusion"
_PATHWAY = re.compile(r"multipathway_blocks\.(\d+)\.")


class DropPathSum(nn.Module):
    """The sum of a shortcut and a branch. Training leaves out the branch of each clip with probability ``p``."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.drop = nn.Dropout(p)  # so that masks depend on the clip (``engine.step.randomness``)

    def forward(self, shortcut: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
        """Return the sum of ``shortcut`` and ``branch``, both [B,C,...]."""
        if not self.training:
            return shortcut + branch
        kept: torch.Tensor = self.drop(branch.new_ones(len(branch), *(1 for _ in branch.shape[1:])))
        return shortcut + branch * kept


def add_drop_path(model: nn.Module, rate: float) -> None:
    """Leave residual blocks of ``model`` out at random in training, in place; the last with probability ``rate``.

    The pathways of SlowFast count their blocks separately. The names of parameters do not change.

    Raises:
        InputError: if ``rate`` is not from 0 to below 1, or the network has no residual blocks.
    """
    if not 0 <= rate < 1:
        raise InputError(f"drop_path={rate} must be from 0 to below 1", setting="drop_path")
    pathways: dict[str, list[nn.Module]] = {}
    for path, module in model.named_modules():
        if callable(getattr(module, _SUM, None)):
            found = _PATHWAY.search(path)
            pathways.setdefault(found[1] if found else "", []).append(module)
    if not pathways:
        raise InputError(
            f"drop_path={rate:g} needs residual blocks, and this network has none that videopool knows. Set it to 0 "
            "or use any built-in network but c3d.",
            setting="drop_path",
        )
    for blocks in pathways.values():
        for number, block in enumerate(blocks, 1):
            setattr(block, _SUM, DropPathSum(rate * number / len(blocks)).train(block.training))
