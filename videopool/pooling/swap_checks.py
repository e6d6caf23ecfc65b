"""Checks of ``swap`` and ``restore``. They raise before the model is changed."""

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
    """Return the error for a method with parameters for each channel at a site of unknown channels."""
    if site.input_shape is not None:
        why = "the layer runs on inputs of different channels. Use a separate layer for each."
    elif has_example:
        why = "the layer does not run in the example, so they are unknown. Choose other sites or another example."
    else:
        why = "their number is unknown. Give example=, an input of the network."
    return InputError(f"Site '{site.path}': '{method}' pooling has parameters for each channel, but {why}")


def check_input(site: Site, pool: Pool) -> None:
    """Run ``pool`` on the input of ``site`` in the example, on which its window may not fit."""
    if site.input_shape is None or site.kind in ("shortcut", "stride"):
        return
    like = next(pool.parameters(), torch.empty(0))
    try:
        run_example(pool, torch.empty(site.input_shape, dtype=like.dtype, device="meta"), lambda layer, x: layer(*x))
    except InputError as error:
        words = str(error).partition(": ")[2]
        raise InputError(
            f"Site '{site.path}': '{pool.method}' pooling {pool.window()} does not fit its input of shape "
            f"{list(site.input_shape)}: {words}"
        ) from error


def check_old(model: nn.Module, site: Site, old: nn.Module | None) -> None:
    """Raise ``InputError`` if a swap would lose something at ``site``."""
    check_owner(model, site.path)
    if " in " in site.method:
        raise InputError(
            f"Site '{site.path}' is a {type(old).__name__}, whose own forward may do more than pool. Use a layer of "
            "torch there, or choose other sites."
        )
    if old is not None and "forward" in vars(old):
        raise InputError(f"Site '{site.path}' has a replaced forward, which a swap would lose. Replace it afterwards.")
    if old is not None:
        _check_kept(site.path, old, "swap", "Swap first")


def check_owner(model: nn.Module, path: str) -> None:
    """Raise ``InputError`` for a call that cannot be replaced by a layer, or restored, in its module."""
    if is_called(path):
        owner, function, _ = split_path(path)
        module = model.get_submodule(owner)
        reason = refusal(module)
        if reason:
            call = f"a call of {function} inside {type(module).__name__}.forward"
            raise InputError(f"Site '{path}' is {call}, and {reason}. Use a pooling module there, then swap it.")


def _check_kept(path: str, layer: nn.Module, verb: str, advice: str) -> None:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    if any(getattr(part, kind) for part in layer.modules() for kind in kinds):
        raise InputError(f"Site '{path}' has hooks, which a {verb} would lose. {advice}, then register them.")
    if getattr(layer, "relu", False) is True:
        raise InputError(f"Site '{path}' applies the ReLU before it, which a {verb} would lose. {advice}, then fuse.")


def check_new(path: str, standing: nn.Module | None, new: nn.Module | None, now: str) -> None:
    """Raise ``InputError`` if the layer at ``path`` is not the one that the swap put there, or would lose something."""
    if new is None or standing is not new:
        raise InputError(f"Site '{path}' does not have the layer of this swap ({now}). Restore later changes first.")
    convolution = isinstance(standing, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    if convolution and not {"weight", "bias"} <= standing._parameters.keys():
        raise InputError(
            f"Site '{path}' has been parametrized since the swap, which a restore would lose. Call "
            "torch.nn.utils.parametrize.remove_parametrizations first."
        )
    _check_kept(path, standing, "restore", "Restore first")


def check_runs(model: nn.Module, changed: Iterable[Site], example: Any) -> None:
    """Run the swapped model on the example; raise ``InputError`` if a new layer does not run as the old one did."""
    try:
        seen = observe(model, example)
    except InputError as error:
        raise InputError(f"With the new layers: {error}") from error
    for site in changed:
        why = ""
        if is_called(site.path):
            if layer_path(model.get_submodule(parent_path(site.path)), site.path) in seen.inputs:
                why = "is in a forward that runs all layers of its module, including the new one"
        elif site.input_shape is not None and site.path not in seen.inputs:
            why = "runs under another name than its layer is registered under (from a list, for example)"
        if why:
            raise InputError(f"Site '{site.path}' {why}. Let that forward run its layers by their names.")
