"""Names of weights in other packages, and those of the same tensors here.

A source is recognized by names that only its networks have. Its rules turn its names into those of pytorchvideo
(``blocks.0.conv.weight``), which most networks here have, or of torchvision's ResNets (``layer1.0.conv1.weight``). The
rules of the model's layout turn the latter into the model's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import torch

from videopool.errors import InputError

# Patterns and replacements, applied by re.sub in this order.
_Rules = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]

# Prefixes of DistributedDataParallel, torch.compile and AveragedModel.
_ALWAYS = ("module.", "_orig_mod.")
# Prefixes of networks inside another module, such as that of Lightning or a recognizer of mmaction2.
_WRAPPERS = ("model.", "net.", "network.", "encoder.", "backbone.")
_HEAD = re.compile(r"(head\.projection|fc|cls_head\.fc_cls|cls_head\.fc2)\.(weight|bias)")


def _block_of_stage(found: re.Match[str]) -> str:
    return f"blocks.{int(found[1]) - 1}"


def _letter_of_number(found: re.Match[str]) -> str:
    return f"branch2.{'conv' if found[1] == 'conv' else 'norm'}_{'abc'[int(found[2]) - 1]}."


_PYSLOWFAST: _Rules = (
    (r"^s(\d)(?=[._])", _block_of_stage),
    (r"^(blocks\.\d)_fuse\.conv_f2s\.", r"\1.multipathway_fusion.conv_fast_to_slow."),
    (r"^(blocks\.\d)_fuse\.bn\.", r"\1.multipathway_fusion.norm."),
    (r"\.stem\.bn\.", ".norm."),
    (r"\.stem\.conv\.", ".conv."),
    (r"\.res(\d+)\.", r".res_blocks.\1."),
    (r"\.branch1\.", ".branch1_conv."),
    (r"\.branch1_bn\.", ".branch1_norm."),
    (r"\.branch2\.([abc])\.", r".branch2.conv_\1."),
    (r"\.branch2\.([abc])_bn\.", r".branch2.norm_\1."),
)
_ONE_PATHWAY: _Rules = ((r"\.pathway0_", "."),)
_TWO_PATHWAYS: _Rules = ((r"\.pathway([01])_", r".multipathway_blocks.\1."),)
_PYSLOWFAST_X3D: _Rules = (
    (r"\.stem\.conv\.", ".conv.conv_xy."),
    (r"\.stem\.conv_xy\.", ".conv.conv_t."),
    (r"\.branch2\.b_bn\.", ".branch2.norm_b.0."),
    (r"\.branch2\.se\.fc1\.", ".branch2.norm_b.1.block.0."),
    (r"\.branch2\.se\.fc2\.", ".branch2.norm_b.1.block.2."),
    (r"^head\.conv_5\.", "blocks.5.pool.pre_conv."),
    (r"^head\.conv_5_bn\.", "blocks.5.pool.pre_norm."),
    (r"^head\.lin_5\.", "blocks.5.pool.post_conv."),
)
_MMACTION2: _Rules = (
    (r"(^|\.)conv(\d)\.conv\.", r"\1conv\2."),
    (r"(^|\.)conv(\d)\.bn\.", r"\1bn\2."),
    (r"\.downsample\.conv\.", ".downsample.0."),
    (r"\.downsample\.bn\.", ".downsample.1."),
)
_MMACTION2_X3D: _Rules = (
    (r"^conv1_s\.conv\.", "blocks.0.conv.conv_t."),
    (r"^conv1_t\.conv\.", "blocks.0.conv.conv_xy."),
    (r"^conv1_t\.bn\.", "blocks.0.norm."),
    (r"^conv5\.conv\.", "blocks.5.pool.pre_conv."),
    (r"^conv5\.bn\.", "blocks.5.pool.pre_norm."),
    (r"^cls_head\.fc1\.", "blocks.5.pool.post_conv."),
    (r"\.conv2\.bn\.", ".branch2.norm_b.0."),
    (r"\.se_module\.fc1\.", ".branch2.norm_b.1.block.0."),
    (r"\.se_module\.fc2\.", ".branch2.norm_b.1.block.2."),
)
_MMACTION2_R2PLUS1D: _Rules = (
    (r"^conv1\.conv\.conv_s\.", "stem.0."),
    (r"^conv1\.conv\.bn_s\.", "stem.1."),
    (r"^conv1\.conv\.conv_t\.", "stem.3."),
    (r"^conv1\.bn\.", "stem.4."),
    (r"\.conv\.conv_s\.", ".0.0."),
    (r"\.conv\.bn_s\.", ".0.1."),
    (r"\.conv\.conv_t\.", ".0.3."),
)
_TO_PYTORCHVIDEO: _Rules = (
    (r"^conv1\.", "blocks.0.conv."),
    (r"^bn1\.", "blocks.0.norm."),
    (r"^layer(\d)\.(\d+)\.", r"blocks.\1.res_blocks.\2."),
    (r"(?<=\.)(conv|bn)([123])\.", _letter_of_number),
    (r"\.downsample\.0\.", ".branch1_conv."),
    (r"\.downsample\.1\.", ".branch1_norm."),
)
_TO_VIDEO_RESNET: _Rules = (
    (r"^conv1\.", "stem.0."),
    (r"^bn1\.", "stem.1."),
    (r"\.conv([12])\.(?=weight)", r".conv\1.0."),
    (r"\.bn([12])\.", r".conv\1.1."),
)


class WeightSource(NamedTuple):
    """A family of networks of another package.

    Attributes:
        name: what reports call it.
        mark: matches a name that no other source has.
        rules: from its names to those of pytorchvideo or torchvision.
        fits: the model here that its weights fit, for errors.
        refused: pairs of a pattern of a name and its shape, such as ``fc.bias [400]``, and the reason why weights with
            such a tensor are refused.
    """

    name: str
    mark: str
    rules: _Rules
    fits: str
    refused: tuple[tuple[str, str], ...] = ()


_NON_LOCAL = (r"non_?local", "they have non-local blocks, which the networks here do not have")

SOURCES = (
    WeightSource(
        "PySlowFast X3D",
        r"s1\.pathway0_stem\.conv_xy\.",
        (*_ONE_PATHWAY, *_PYSLOWFAST_X3D, *_PYSLOWFAST),
        "x3d",
        ((r"head\.lin_5_bn\.", "their head has a normalization (BN_LIN5), which x3d does not have"),),
    ),
    WeightSource(
        "PySlowFast SlowFast",
        r"s1\.pathway1_stem\.",
        (*_TWO_PATHWAYS, *_PYSLOWFAST),
        "slowfast",
        (_NON_LOCAL,),
    ),
    WeightSource(
        "PySlowFast", r"s1\.pathway0_stem\.", (*_ONE_PATHWAY, *_PYSLOWFAST), "slow, c2d or i3d", (_NON_LOCAL,)
    ),
    WeightSource("mmaction2 X3D", r"conv1_s\.conv\.", (*_MMACTION2_X3D, *_MMACTION2), "x3d"),
    WeightSource(
        "mmaction2 R(2+1)D",
        r"conv1\.conv\.conv_s\.",
        (*_MMACTION2_R2PLUS1D, *_MMACTION2),
        "r2plus1d with depth=34 and form=mmaction2",
    ),
    WeightSource(
        "mmaction2 SlowFast",
        r"slow_path\.conv1\.",
        (),
        "no model here",
        (
            (
                r"slow_path\.",
                "SlowFast of mmaction2 has no normalization and no ReLU in its lateral connections, and its slow "
                "pathway sees every alpha-th frame from the first; train with weights of PySlowFast or pytorchvideo",
            ),
        ),
    ),
    WeightSource(
        "mmaction2 ResNet",
        r"conv1\.conv\.weight",
        _MMACTION2,
        "slow (SlowOnly)",
        (
            _NON_LOCAL,
            (
                r"^conv1\.conv\.weight \[\d+, 3, 5,",
                "I3D of mmaction2 has strides of 2 frames in its stem, which i3d does not have; train with weights of "
                "PySlowFast or pytorchvideo",
            ),
        ),
    ),
    WeightSource("torchvision video ResNet", r"stem\.0\.weight", (), "r3d, mc3, or r2plus1d of depth 18 or 34"),
    WeightSource(
        "torchvision ResNet",
        r"layer1\.0\.conv1\.weight",
        (),
        "resnet; slow, c2d, i3d and slowfast (50 layers and more); r3d and mc3 (18 and 34)",
    ),
)


def unwrapped(names: Iterable[str], own: Collection[str]) -> dict[str, str]:
    """Return the names without the prefixes of wrappers, each with the name in the file.

    Those in ``_WRAPPERS`` are removed unless names of the model, ``own``, begin with them.

    Raises:
        InputError: if two tensors then have the same name, as in a file with two networks.
    """
    bare = {name: without_prefixes(name) for name in names}
    for wrapper in _WRAPPERS:
        if not any(name.startswith(wrapper) for name in own):
            bare = {name: without_prefixes(short.removeprefix(wrapper)) for name, short in bare.items()}
    found: dict[str, str] = {}
    for name, short in bare.items():
        if found.setdefault(short, name) != name:
            raise InputError(
                f"The weights {found[short]} and {name} are of two networks. Save those of one of them in a file of "
                "their own."
            )
    return found


def without_prefixes(name: str) -> str:
    """Return ``name`` without the prefixes of DistributedDataParallel and torch.compile."""
    while name.startswith(_ALWAYS):
        name = name.partition(".")[2]
    return name


def find_source(weights: Mapping[str, torch.Tensor]) -> WeightSource | None:
    """Return the source that ``weights`` come from, or None if their names are of none.

    Raises:
        InputError: if weights of this kind cannot be used.
    """
    names = list(weights)
    source = next((row for row in SOURCES if any(re.match(row.mark, name) for name in names)), None)
    for pattern, reason in source.refused if source else ():
        found = next((name for name in names if re.search(pattern, f"{name} {list(weights[name].shape)}")), "")
        if source and found:
            raise InputError(f"The weights of {source.name} cannot be loaded ({found}): {reason}.")
    return source


def renamed(names: Iterable[str], source: WeightSource, own: Mapping[str, torch.Tensor], head: str) -> dict[str, str]:
    """Return the model's name of each of ``names``.

    Args:
        names: of the tensors of ``source``.
        source: where they come from.
        own: the model's tensors.
        head: the path of the model's classifier.
    """
    rules = (*source.rules, *_layout(own))
    numbers = {name.split(".")[1] for name in own if name.startswith("blocks.")}
    shift = "3" in numbers and "2" not in numbers
    two = any(".multipathway_blocks." in name for name in own)
    found = {}
    for name in names:
        if name in own:
            found[name] = name
            continue
        new = name
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        if shift:  # c2d and i3d have a pool, which has no tensors, as blocks.2
            new = re.sub(r"^blocks\.([2-9])\.", lambda number: f"blocks.{int(number[1]) + 1}.", new)
        if two and "multipathway" not in new:
            new = re.sub(r"^(blocks\.\d)\.", r"\1.multipathway_blocks.0.", new)
        match = _HEAD.fullmatch(name)
        found[name] = f"{head}.{match[2]}" if match else new
    return found


def _layout(own: Mapping[str, torch.Tensor]) -> _Rules:
    """Return the rules from torchvision's names of ResNets to those of the model with the tensors ``own``."""
    if "stem.0.weight" in own:
        return _TO_VIDEO_RESNET
    return _TO_PYTORCHVIDEO if any(name.startswith("blocks.") for name in own) else ()
