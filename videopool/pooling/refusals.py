"""What surgery does not do, and how it says so: the model is left as it was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from videopool.errors import InputError
from videopool.pooling.base import Pool
from videopool.pooling.called import is_called, layer_path, refusal, split_path
from videopool.pooling.find import Site, parent_path
from videopool.pooling.observe import observe, run_example


def unknown_channels(site: Site, method: str, has_example: bool) -> InputError:
    """For a method with parameters for each channel at a site of which nothing tells how many it has."""
    if site.input_shape is not None:
        why = "it is used on inputs of different channels; give each of its places a layer of its own"
    elif has_example:
        why = "it does not run in the example, so they are unknown; choose other sites, or another example"
    else:
        why = "no layer tells how many there are; give example=, an input of the network"
    return InputError(f"site '{site.path}': '{method}' pooling has parameters for each channel, and {why}")


def check_input(site: Site, pool: Pool) -> None:
    """Let ``pool`` see what enters ``site`` in the example; a window there may be larger than its input."""
    if site.input_shape is None or site.kind in ("shortcut", "stride"):
        return
    like = next(pool.parameters(), torch.empty(0))
    try:
        run_example(pool, torch.empty(site.input_shape, dtype=like.dtype, device="meta"), lambda layer, x: layer(*x))
    except InputError as error:
        words = str(error).partition(": ")[2]
        raise InputError(
            f"site '{site.path}': '{pool.method}' pooling {pool.window()} cannot take its input of shape "
            f"{list(site.input_shape)}: {words}"
        ) from error


def check_old(model: nn.Module, site: Site, old: nn.Module | None) -> None:
    """Refuse what a swap would silently change."""
    check_owner(model, site.path)
    if " in " in site.method:
        raise InputError(
            f"site '{site.path}' is a {type(old).__name__}, whose forward is its own and does more than pool; put a "
            "layer of torch there, or choose other sites"
        )
    if old is not None and "forward" in vars(old):
        raise InputError(f"site '{site.path}' had its forward replaced, which a swap would lose; replace it after")
    if old is not None:
        _check_kept(site.path, old, "swap", "swap first")


def check_owner(model: nn.Module, path: str) -> None:
    """Refuse a call whose module cannot get, or give back, layers that answer it."""
    if is_called(path):
        owner, function, _ = split_path(path)
        module = model.get_submodule(owner)
        reason = refusal(module)
        if reason:
            call = f"a call of {function} inside {type(module).__name__}.forward"
            raise InputError(f"site '{path}' is {call}, and {reason}; make it a module to swap it")


def _check_kept(path: str, layer: nn.Module, verb: str, mend: str) -> None:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    if any(getattr(part, kind) for part in layer.modules() for kind in kinds):
        raise InputError(f"site '{path}' has hooks that a {verb} would lose; {mend}, then register them")
    if getattr(layer, "relu", False) is True:
        raise InputError(f"site '{path}' applies the ReLU before it, which a {verb} would lose; {mend}, then fuse")


def check_new(path: str, standing: nn.Module | None, new: nn.Module | None, now: str) -> None:
    """Refuse to put back what another has taken the place of, or what would lose something."""
    if new is None or standing is not new:
        raise InputError(
            f"site '{path}' does not hold the layer that the swap put there ({now}); restore the later changes first"
        )
    convolution = isinstance(standing, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    if convolution and not {"weight", "bias"} <= standing._parameters.keys():
        raise InputError(
            f"site '{path}' was parametrized since its swap, which a restore would lose; remove that "
            "(torch.nn.utils.parametrize.remove_parametrizations) before"
        )
    _check_kept(path, standing, "restore", "restore first")


def check_runs(model: nn.Module, changed: Iterable[Site], example: Any) -> None:
    """Show the example to the swapped model; refuse where a new layer does not run as the old one did."""
    try:
        seen = observe(model, example)
    except InputError as error:
        raise InputError(f"with the new layers, {error}") from error
    for site in changed:
        why = ""
        if is_called(site.path):
            if layer_path(model.get_submodule(parent_path(site.path)), site.path) in seen.inputs:
                why = "is in a forward that runs all layers of its module, the new one too"
        elif site.input_shape is not None and site.path not in seen.inputs:
            why = "is run by another name than the one that its layer is registered under (from a list, say)"
        if why:
            raise InputError(f"site '{site.path}' {why}; have that forward name the layers that it runs")
