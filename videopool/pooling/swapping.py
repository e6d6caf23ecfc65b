"""Swap the pooling method of a network in place, keeping output shapes and weights, and restore it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from videopool.errors import InputError
from videopool.pooling import find
from videopool.pooling.base import Pool
from videopool.pooling.called import PoolCall, called_pools, is_called, replace_call, restore_call, split_path
from videopool.pooling.cost import Cost
from videopool.pooling.find import Site
from videopool.pooling.methods import Method, check_method
from videopool.pooling.pooled_conv import PooledConv1d, PooledConv2d, PooledConv3d, pooled_conv
from videopool.pooling.selection import Selector, select
from videopool.pooling.swap_checks import (
    check_input,
    check_new,
    check_old,
    check_owner,
    check_runs,
    unknown_channels,
)
from videopool.pooling.weighted import SoftPool


@dataclasses.dataclass(frozen=True)
class Change:
    """What ``swap`` did at one site: the descriptions of the layer before and after.

    ``old`` and ``new`` are the layers, for ``restore``; ``old`` is None for a function call, and ``new`` is ``old`` if
    nothing changed.
    """

    path: str
    kind: str
    was: str
    now: str
    old: nn.Module | None = dataclasses.field(default=None, repr=False, compare=False)
    new: nn.Module | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def changed(self) -> bool:
        """False if the site already was as requested."""
        return self.was != self.now or self.old is not self.new


def swap(
    model: nn.Module,
    method: Method,
    sites: Selector = ("pool",),
    *,
    arguments: Mapping[str, Any] | None = None,
    example: Any = None,
) -> tuple[Change, ...]:
    """Put pooling ``method`` at sites of ``model``, in place. An error leaves the model unchanged.

    A ``pool`` or ``head`` keeps its window. A ``shortcut`` becomes a pool whose windows are the stride, followed by
    the unstrided 1x1x1 convolution (ResNet-D, He et al. 2018). A ``stride`` becomes the unstrided convolution followed
    by such a pool, which multiplies the arithmetic there by the product of the strides. A pool that is called as a
    function is replaced by a layer, which the module that calls it registers as ``pool_<function>_<k>``. Output shapes
    stay the same for every input size, parameters keep their names and values, and no random number is drawn.
    Parameters of the method get the device and dtype of the layers around them.

    Args:
        model: any network.
        method: a key of ``METHODS``, a class derived from ``Pool``, or the name ``package.module.Class`` of one.
        sites: where: kinds (``pool``, ``head``, ``shortcut``, ``stride``), paths and ``Site`` objects, one or several,
            mixed freely; or a function that takes a ``Site`` and returns whether to change it. Sites that were listed
            with an example keep what it showed.
        arguments: the method's own arguments, such as ``{"beta": 2.0, "detach_weights": True}`` of ``soft``.
        example: an input of the network: a tensor (on any device, meta included) or a tuple of positional inputs.
            Needed for methods with parameters for each channel where no layer tells the channels, and for pools that
            are called as functions. The swapped network also runs on it, to check that every new layer runs where the
            old one did.

    Returns:
        One ``Change`` for each chosen site, including those that already were as requested. ``restore`` undoes them.

    Raises:
        InputError: for an unknown method, argument, kind or path, for a kind that the model has no site of, for a
            site that the method does not fit, and for an example that the model does not run on.
    """
    own = dict(arguments or {})
    wanted = check_method(method, own)
    chosen = select(model, find.sites(model, example), sites, example is not None)
    changes = tuple(_plan(model, site, wanted, own, example is not None) for site in chosen)
    for site, change in zip(chosen, changes, strict=True):
        if change.changed and change.new is not None:
            _put(model, site, change.old, change.new)
    if example is not None:
        try:
            check_runs(model, (s for s, change in zip(chosen, changes, strict=True) if change.changed), example)
        except InputError:
            restore(model, changes)
            raise
    return changes


def restore(model: nn.Module, changes: Iterable[Change]) -> None:
    """Undo what ``swap`` did to ``model``, in place. An error leaves the model unchanged.

    Layers, classes, names and values of parameters are those from before the swap. If the model was trained since,
    convolutions keep their current weights, and pools get their old ones.

    Args:
        model: the network that was swapped (or a copy together with its changes).
        changes: the results of ``swap``; those of several calls in their order.

    Raises:
        InputError: for a site whose layer is not the one of the swap, or that would lose hooks or a fused ReLU.
    """
    undone = [change for change in reversed(list(changes)) if change.changed]
    standing: dict[str, nn.Module | None] = {}
    for change in undone:
        if change.path not in standing:
            standing[change.path] = _standing(model, change.path)
        check_new(change.path, standing[change.path], change.new, change.now)
        check_owner(model, change.path)
        standing[change.path] = change.old
    for change in undone:
        _put_back(model, change)


def report(changes: Sequence[Change], before: Cost | None = None, after: Cost | None = None) -> str:
    """Return a table of the changes (site, kind, was, is) with a line that counts them.

    Args:
        changes: the result of ``swap``.
        before, after: ``cost`` of the model before and after the swap; if given, their differences follow.
    """
    if not changes:
        return "pooling: as published, no site changed"
    rows = [("pooling site", "kind", "before", "after")]
    rows += [(c.path, c.kind, c.was, c.now if c.changed else "unchanged") for c in changes]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row[:3], widths, strict=True)), row[3]]) for row in rows]
    changed = sum(change.changed for change in changes)
    costs = [] if before is None or after is None else before.compared_with(after)
    return "\n".join([*lines, f"{changed} of {len(changes)} sites changed", *costs])


def _plan(model: nn.Module, site: Site, method: type[Pool], arguments: dict[str, Any], has_example: bool) -> Change:
    """Return the change of one site with its new layer, which is not in the model yet."""
    old = _standing(model, site.path)
    check_old(model, site, old)
    if site.channels is None and method.needs_channels(**arguments):
        raise unknown_channels(site, method.method, has_example)
    pool = _new_pool(site, method, arguments)
    _place(model, site.path, old, pool)
    check_input(site, pool)
    pool.train(model.get_submodule(find.parent_path(site.path)).training if old is None else old.training)
    new: nn.Module = pool
    if isinstance(old, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        new = pooled_conv(old, pool, pool_first=site.kind == "shortcut")
    was, now = _describe(site, old), _describe(site, new)
    same = was == now and _generator(old) is _generator(new)
    return Change(site.path, site.kind, was, now, old, old if same else new)


def _new_pool(site: Site, method: type[Pool], arguments: dict[str, Any]) -> Pool:
    """Return the pool of ``method`` for ``site``; at a strided convolution its windows are the stride."""
    zeros, ones = (0,) * site.rank, (1,) * site.rank
    window = (site.kernel_size, site.stride, site.padding, site.dilation, site.ceil_mode)
    if site.method == "conv":
        window = (site.stride, site.stride, zeros, ones, True)
    channels = site.channels if method.needs_channels(**arguments) else None
    try:
        return method(site.rank, *window, channels=channels, **arguments)
    except InputError as error:
        raise InputError(f"Site '{site.path}': {error}", setting=error.setting) from None


def _generator(layer: Any) -> torch.Generator | None:
    """Return the generator of a layer, which its description does not identify."""
    return getattr(getattr(layer, "pool", layer), "generator", None)


def _place(model: nn.Module, path: str, old: nn.Module | None, pool: nn.Module) -> None:
    """Move ``pool`` to the device and dtype of the layer that it replaces, or else of the nearest layer around it."""
    around = [] if old is None else [old]
    while path:
        path = find.parent_path(path)
        around.append(model.get_submodule(path))
    nearby = (tensor for module in around for tensor in module.parameters() if tensor.is_floating_point())
    like = next(nearby, None)
    if like is not None:
        pool.to(device=like.device, dtype=like.dtype)


def _standing(model: nn.Module, path: str) -> nn.Module | None:
    """Return the current layer at a site; None for a function call, or if the module no longer exists."""
    modules = dict(model.named_modules(remove_duplicate=False))
    if not is_called(path):
        return modules.get(path)
    owner, function, count = split_path(path)
    pool, _ = called_pools(modules.get(owner)).get((function, count), (None, None))
    return pool


def _describe(site: Site, module: Any) -> str:
    """Return the description of the layer at a site, in the form of ``Pool.describe``."""
    if isinstance(module, Pool | PooledConv1d | PooledConv2d | PooledConv3d):
        return module.describe()
    if site.method == "soft" and isinstance(module.beta, nn.Parameter):
        return f"{site.describe()} learned beta"
    if site.method == "soft":
        return _new_pool(site, SoftPool, {"beta": module.beta, "detach_weights": module.detach_weights}).describe()
    return site.describe()


def _put(model: nn.Module, site: Site, old: nn.Module | None, new: Any) -> None:
    """Put ``new`` at ``site``; a layer used twice stays one layer."""
    if not is_called(site.path):
        _replace(model, old, new)
        return
    owner, function, count = split_path(site.path)
    module = model.get_submodule(owner)
    window = (site.kernel_size, site.stride, site.padding, site.dilation, site.ceil_mode)
    made = PoolCall(site.method, site.rank, *window, (), site.calls)
    _, call = called_pools(module).get((function, count), (None, made))
    replace_call(module, function, count, new, call)


def _replace(model: nn.Module, old: nn.Module | None, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` is registered."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old and child is not None:
                setattr(parent, name, new)


def _put_back(model: nn.Module, change: Change) -> None:
    new: Any = change.new
    old: Any = change.old
    if old is not None:
        old.train(new.training)
    if isinstance(old, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        old.weight, old.bias = new.weight, new.bias
    elif old is not None:
        _place(model, change.path, None, old)
    if not is_called(change.path):
        _replace(model, old=new, new=old)
        return
    owner, function, count = split_path(change.path)
    module = model.get_submodule(owner)
    if old is None:
        restore_call(module, function, count)
    else:
        _, call = called_pools(module)[function, count]
        replace_call(module, function, count, old, call)
