"""Values of weights of other packages, changed to fit a model that computes the same."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

Weights = dict[str, torch.Tensor]
_EPS = 1e-5  # of the normalization in PySlowFast and mmaction2
_SHORTCUT_NORM = re.compile(r"(.*)\.branch1_norm\.weight")


def fold_shortcut_norms(weights: Weights, own: Mapping[str, torch.Tensor]) -> tuple[Weights, tuple[str, ...]]:
    """Merge normalization of shortcuts that the model lacks into the tensors around it, for evaluation mode.

    The first block of PySlowFast's and mmaction2's X3D normalizes its shortcut; pytorchvideo's does not. Normalization
    multiplies channel c by s = weight / sqrt(running_var + eps) and adds bias - s running_mean. The factor goes into
    the convolution before it, the summand into the bias of the last normalization of the branch, which is added to the
    shortcut.

    Args:
        weights: tensors by the model's names; not changed.
        own: the model's tensors.

    Returns:
        The weights, and the names of the merged tensors.
    """
    paths = [found[1] for name in weights if name not in own and (found := _SHORTCUT_NORM.fullmatch(name))]
    result, merged = dict(weights), []
    for path in paths:
        names = [f"{path}.branch1_norm.{key}" for key in ("weight", "bias", "running_mean", "running_var")]
        conv, bias = f"{path}.branch1_conv.weight", f"{path}.branch2.norm_c.bias"
        if not {conv, bias, *names} <= weights.keys() or f"{path}.branch1_norm.weight" in own:
            continue
        weight, shift, mean, variance = (weights[name].double() for name in names)
        scale = weight / (variance + _EPS).sqrt()
        result[conv] = (weights[conv].double() * scale.view(-1, 1, 1, 1, 1)).to(weights[conv].dtype)
        result[bias] = (weights[bias].double() + shift - scale * mean).to(weights[bias].dtype)
        merged += [name for name in weights if name.startswith(f"{path}.branch1_norm.")]
    return {name: value for name, value in result.items() if name not in merged}, tuple(merged)


def inflate(weight: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return the 3D convolution of ``shape`` [O,C,T,h,w] that computes on a still clip what ``weight`` does on a frame.

    The kernel ``weight`` [O,I,h,w] is repeated T times and divided by T (Carreira and Zisserman, "Quo Vadis, Action
    Recognition?", CVPR 2017, section 2.4.1). Input channels from I to C, which in the slow pathway of SlowFast come
    from the fast one, have zero weights.

    ``shape`` must agree with ``weight`` in O, h and w, and C must not be below I (see ``can_inflate``).
    """
    result = weight.new_zeros(shape)
    result[:, : weight.shape[1]] = weight.unsqueeze(2) / shape[2]
    return result


def can_inflate(weight: torch.Tensor, shape: torch.Size, *, lateral: bool) -> bool:
    """Return whether ``weight`` can be inflated to ``shape``; ``lateral``: the model may have more input channels."""
    if weight.dim() != 4 or len(shape) != 5:
        return False
    more = shape[1] >= weight.shape[1] if lateral else shape[1] == weight.shape[1]
    return more and shape[0] == weight.shape[0] and shape[3:] == weight.shape[2:]


def same_but_for_ones(one: torch.Size, other: torch.Size) -> bool:
    """Return whether two shapes differ in last axes of length 1, as those of linear layers and 1x1x1 convolutions."""
    short, long = sorted((one, other), key=len)
    return short != long and short == long[: len(short)] and set(long[len(short) :]) == {1}
