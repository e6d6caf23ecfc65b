"""Putting one pooling method in the place of another, in place, with output shapes and weights kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from videopool.errors import InputError
from videopool.pooling.base import Pool
from videopool.pooling.find import KINDS, Site, sites
from videopool.pooling.methods import check_method, make_pool, nearest
from videopool.pooling.pooled_conv import PooledConv1d, PooledConv2d, PooledConv3d, pooled_conv


@dataclasses.dataclass(frozen=True)
class Change:
    """What ``swap`` did at one site: the layer that was there and the one that is, each in one line."""

    path: str
    kind: str
    was: str
    now: str

    @property
    def changed(self) -> bool:
        """False where the site already was what was asked for."""
        return self.was != self.now


def swap(
    model: nn.Module,
    method: str,
    where: Iterable[str] = ("pool",),
    **arguments: Any,
) -> tuple[Change, ...]:
    """Put pooling ``method`` at sites of ``model``, in place; nothing is changed when anything is refused.

    A ``pool`` or ``head`` keeps its window. A ``shortcut`` becomes a pool whose windows are the stride, followed by
    the unstrided 1x1x1 convolution (ResNet-D, He et al. 2018). A ``stride`` becomes the unstrided convolution followed
    by such a pool, which costs the product of its strides in arithmetic there. Output shapes are kept for every
    input size, parameters keep their names and values, and the random generator is not touched.

    Args:
        model: any network; its sites are those that ``sites(model)`` lists.
        method: a key of ``METHODS``.
        where: kinds of sites (``pool``, ``head``, ``shortcut``, ``stride``) and paths of single sites, mixed freely.
        arguments: the method's own, such as ``beta=2.0`` and ``detach_weights=True`` of ``soft``.

    Returns:
        One ``Change`` for each chosen site, also for those that were already so.

    Raises:
        InputError: for an unknown method, argument, kind or path, for a kind that the model has no site of, and for a
            site that the method cannot serve.
    """
    check_method(method, arguments)
    plan = []
    for site in _choose(sites(model), (where,) if isinstance(where, str) else tuple(where)):
        old = model.get_submodule(site.path)
        new = _successor(site, old, _new_pool(site, method, arguments))
        plan.append((Change(site.path, site.kind, _describe(site, old), _describe(site, new)), old, new))
    for change, old, new in plan:
        if change.changed:
            _replace(model, old, new)
    return tuple(change for change, _, _ in plan)


def report(changes: Sequence[Change]) -> str:
    """The changes as a table: site, kind, was, is; one line for each, and a line that counts them."""
    if not changes:
        return "pooling: as published, no site changed"
    rows = [("site", "kind", "was", "is")]
    rows += [(c.path, c.kind, c.was, c.now if c.changed else "unchanged") for c in changes]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row[:3], widths, strict=True)), row[3]]) for row in rows]
    changed = sum(change.changed for change in changes)
    return "\n".join([*lines, f"{changed} of {len(changes)} sites changed"])


def _choose(available: Sequence[Site], where: tuple[str, ...]) -> list[Site]:
    """The sites that ``where`` names, in the order of the model, each once."""
    paths, kinds = {site.path for site in available}, {site.kind for site in available}
    for name in where:
        if name in KINDS and name not in kinds:
            has = ", ".join(kind for kind in KINDS if kind in kinds) or "none at all"
            raise InputError(f"this model has no pooling site of kind '{name}'; it has: {has}")
        if name not in KINDS and name not in paths:
            hint = nearest(name, [*KINDS, *paths])
            raise InputError(
                f"unknown pooling site '{name}'{hint or '; expected a kind (' + ', '.join(KINDS) + ') or a path'}"
            )
    return [site for site in available if site.path in where or site.kind in where]


def _new_pool(site: Site, method: str, arguments: dict[str, Any]) -> Pool:
    """The pool of ``method`` for ``site``; at a strided convolution its windows are the stride."""
    zeros, ones = (0,) * site.rank, (1,) * site.rank
    window = (site.kernel_size, site.stride, site.padding, site.dilation, site.ceil_mode)
    if site.method == "conv":
        window = (site.stride, site.stride, zeros, ones, True)
    try:
        return make_pool(method, site.rank, *window, **arguments)
    except InputError as error:
        raise InputError(f"site '{site.path}': {error}") from None


def _successor(site: Site, old: nn.Module, pool: Pool) -> nn.Module:
    """The module that would take the place of ``old``."""
    if old._forward_hooks or old._forward_pre_hooks or old._backward_hooks or old._backward_pre_hooks:
        raise InputError(f"site '{site.path}' has hooks that a swap would lose; swap first, then register them")
    if getattr(old, "relu", False) is True:
        raise InputError(f"site '{site.path}' applies the ReLU before it, which a swap would lose; swap, then fuse")
    pool.train(old.training)
    if isinstance(old, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return pooled_conv(old, pool, pool_first=site.kind == "shortcut")
    return pool


def _describe(site: Site, module: Any) -> str:
    """What stands at a site, in the words of ``Pool.describe``."""
    if isinstance(module, Pool | PooledConv1d | PooledConv2d | PooledConv3d):
        return module.describe()
    if site.method == "soft" and isinstance(module.beta, nn.Parameter):
        return f"{site.describe()} learned beta"
    if site.method == "soft":
        return _new_pool(site, "soft", {"beta": module.beta, "detach_weights": module.detach_weights}).describe()
    return site.describe()


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``old`` is registered: a layer used twice stays one layer."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                setattr(parent, name, new)
