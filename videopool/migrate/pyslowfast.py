"""YAML files of PySlowFast as configurations of videopool."""

from __future__ import annotations

import ast
import fnmatch
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videopool.config.renamed import RENAMED
from videopool.config.tree import Value, merge, read_tree
from videopool.errors import InputError, did_you_mean
from videopool.migrate.draft import Draft
from videopool.migrate.keys import Keys, flatten
from videopool.migrate.pyslowfast_keys import CLASSIFIERS, DEFAULTS, NETWORKS, NO_MEANING, WITHOUT_COUNTERPART
from videopool.migrate.pyslowfast_recipe import set_recipe

_SECTIONS = {key.partition(".")[0] for key in (*DEFAULTS, *WITHOUT_COUNTERPART)}
_ARGUMENTS = {"slowfast": "RESNET and SLOWFAST", "x3d": "X3D"}  # where the arguments of a network come from
_THIRD_STAGE = {18: 1, 50: 6, 101: 23, 152: 36}  # blocks of the third stage


def read_pyslowfast(path: Path) -> Draft:
    """Return the configuration of a YAML file of PySlowFast.

    Raises:
        InputError: if the file is not of PySlowFast, if a value has a wrong type, or if videopool has no such network.
    """
    given, where = _read(path)
    keys = Keys(given, where=where, defaults=DEFAULTS)
    draft = Draft("PySlowFast", path)
    network = _network(keys, draft)
    set_recipe(keys, draft)
    for key, (default, here, reason) in WITHOUT_COUNTERPART.items():
        inactive = _inactive(key, keys, network)
        if not inactive and _stages(keys.take(key, default)) != _stages(default if here is None else here):
            draft.lose(key, reason)
    for key, _ in keys.unread():
        if key in DEFAULTS or key in WITHOUT_COUNTERPART or any(fnmatch.fnmatch(key, name) for name in NO_MEANING):
            draft.ignored.append(key)
        else:
            hint = did_you_mean(key, [*DEFAULTS, *WITHOUT_COUNTERPART, *RENAMED])
            draft.lose(key, f"unknown key{hint and f'. {hint}'}")
    return draft


def _read(path: Path, chain: tuple[Path, ...] = ()) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the dotted keys of a file and of its ``_BASE_``, and the line of each."""
    if path.resolve() in chain:
        raise InputError(f"{path} is its own _BASE_; remove it from {chain[-1]}")
    tree = read_tree(path, last_wins=True)
    base = tree.pop("_BASE_", None)
    if base is not None:
        below, places = _read(path.parent / str(base.value), (*chain, path.resolve()))
        merged = {key: Value(value, places[key]) for key, value in below.items()}
        merge(merged, flatten(tree))
    else:
        merged = flatten(tree)
    if not merged or not {key.partition(".")[0] for key in merged} & _SECTIONS:
        raise InputError(_not_of_pyslowfast(path, tree))
    values = {key: _decoded(leaf) for key, leaf in merged.items()}
    return values, {key: leaf.where for key, leaf in merged.items() if isinstance(leaf, Value)}


def _decoded(leaf: Any) -> Any:
    """Return the value of a leaf. PySlowFast reads text that is a Python literal as such, as in ``1e-4``."""
    if not isinstance(leaf, Value):
        return leaf
    value = leaf.value
    if isinstance(value, list):
        return [_decoded(Value(item, leaf.where)) for item in value]
    if not isinstance(value, str):
        return value
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
    return list(literal) if isinstance(literal, tuple) else literal


def _not_of_pyslowfast(path: Path, tree: dict[str, Any]) -> str:
    if {"clip", "optim", "model", "base"} & set(tree):
        return f"{path} is a configuration of videopool already; use it with videopool train --config {path}"
    return f"{path} has no section of PySlowFast, such as MODEL, TRAIN or SOLVER; give one of its YAML files"


def _network(keys: Keys, draft: Draft) -> str:
    """Set the keys of the network, and return its name here."""
    arch, kind = keys.take("MODEL.ARCH"), keys.take("MODEL.MODEL_NAME")
    for task in ("DETECTION", "MASK"):
        if keys.take(f"{task}.ENABLE"):
            raise InputError(f"{keys.place(f'{task}.ENABLE')}{task}.ENABLE is set; videopool only trains classifiers")
    if arch not in NETWORKS or kind not in CLASSIFIERS:
        raise InputError(
            f"{keys.place('MODEL.ARCH')}videopool does not have the network MODEL.ARCH={arch}, MODEL.MODEL_NAME={kind};"
            f" it has classifiers with the MODEL.ARCH {', '.join(NETWORKS)}"
        )
    name, implied = NETWORKS[arch]
    draft.set("model.name", name, "MODEL.ARCH and MODEL_NAME")
    draft.set("model.pooling", "none", "the published network; soft: SoftPool")
    arguments = _arguments(name, keys, draft) | implied
    if kind == "ResNet_nopool":
        arguments["time_pool"] = False
    draft.set("model.arguments", arguments, _ARGUMENTS.get(name, "RESNET"))
    return name


def _arguments(name: str, keys: Keys, draft: Draft) -> dict[str, Any]:
    if keys.take("RESNET.TRANS_FUNC") not in ("bottleneck_transform", "x3d_transform"):
        draft.lose("RESNET.TRANS_FUNC", "blocks are bottlenecks here")
    if name == "x3d":
        return {
            "depth": keys.take("X3D.DEPTH_FACTOR"),
            "width": keys.take("X3D.WIDTH_FACTOR"),
            "bottleneck": keys.take("X3D.BOTTLENECK_FACTOR"),
            "head_width": keys.take("X3D.DIM_C5"),
        }
    depth = keys.take("RESNET.DEPTH")
    if depth not in (50, 101, 152):
        raise InputError(f"{keys.place('RESNET.DEPTH')}RESNET.DEPTH={depth}: networks here have 50, 101 or 152 layers")
    arguments = {"depth": depth, "width": keys.take("RESNET.WIDTH_PER_GROUP")}
    if name == "slowfast":
        arguments |= {
            "alpha": keys.take("SLOWFAST.ALPHA"),
            "channel_ratio": keys.take("SLOWFAST.BETA_INV"),
            "fusion_kernel": keys.take("SLOWFAST.FUSION_KERNEL_SZ"),
        }
    return arguments | _temporal_blocks(name, depth, keys, draft)


def _temporal_blocks(name: str, depth: int, keys: Keys, draft: Draft) -> dict[str, Any]:
    """Return how many blocks of the third stage see several frames, if not all do."""
    key = "RESNET.NUM_BLOCK_TEMP_KERNEL"
    blocks, every = keys.take(key), _THIRD_STAGE.get(depth, 0)
    if name not in ("slowfast", "slow", "i3d") or len(blocks) < 3:
        return {}
    counts = sorted({*_leaves(blocks[2])})
    if counts == [every]:
        return {}
    if name == "slowfast" and len(counts) == 1:
        return {"temporal_blocks": counts[0]}
    draft.lose(key, f"all {every} blocks of the third stage have convolutions in time here, in every pathway")
    return {}


def _inactive(key: str, keys: Keys, network: str) -> bool:
    """Return whether PySlowFast does not read ``key`` with the other keys as they are."""
    section = key.partition(".")[0]
    active = {
        "AUG": keys.take("AUG.ENABLE"),
        "MIXUP": keys.take("MIXUP.ENABLE"),
        "MULTIGRID": keys.take("MULTIGRID.SHORT_CYCLE") or keys.take("MULTIGRID.LONG_CYCLE"),
        "NONLOCAL": network not in ("x3d", "csn", "r2plus1d"),
        "RESNET": network not in ("csn", "r2plus1d"),
        "SLOWFAST": network == "slowfast",
        "X3D": network == "x3d",
    }
    return not active.get(section, True)


def _stages(value: Any) -> Any:
    """Return a value in a form in which equal stages of several pathways are one."""
    return [sorted({*_leaves(stage)}) for stage in value] if isinstance(value, list) else value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)
    else:
        yield value
