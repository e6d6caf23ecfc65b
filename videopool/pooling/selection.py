"""Choosing sites of a network by kind, path, ``Site`` or predicate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from torch import nn

from videopool.errors import InputError, did_you_mean
from videopool.pooling.called import is_called
from videopool.pooling.find import KINDS, Site

Selector = str | Site | Iterable[str | Site] | Callable[[Site], bool]

_SETTING = "pooling_sites"
_NEEDS_EXAMPLE = "Pools that are called as functions are found with example=."
_FROM_EXAMPLE = ("channels", "input_shape", "calls")  # fields of a site that an example fills in


def select(model: nn.Module, available: Sequence[Site], wanted: Selector, has_example: bool) -> tuple[Site, ...]:
    """Return the sites that ``wanted`` names, each once, in the order of ``available``.

    Args:
        model: the network.
        available: all of its sites.
        wanted: kinds, paths and ``Site`` objects, one or several, or a predicate on ``Site``.
        has_example: whether ``available`` was listed with an example.

    Raises:
        InputError: for an unknown name, a kind that the model has no site of, a ``Site`` of another model, and a
            selector that chooses nothing.
    """
    chosen: dict[str, Site] = {}
    if callable(wanted):
        chosen = {site.path: site for site in available if wanted(site)}
    else:
        entries = [wanted] if isinstance(wanted, str | Site) else list(wanted)
        for name in (entry for entry in entries if not isinstance(entry, Site)):
            chosen |= {site.path: site for site in _named(available, name, has_example)}
        for given in (entry for entry in entries if isinstance(entry, Site)):
            chosen[given.path] = _current(model, available, given)
    if not chosen:
        shown = getattr(wanted, "__name__", wanted)
        raise InputError(f"sites={shown} matches none of the {len(available)} pooling sites", setting=_SETTING)
    order = {site.path: number for number, site in enumerate(available)}
    return tuple(sorted(chosen.values(), key=lambda site: order.get(site.path, len(order))))


def _named(available: Sequence[Site], name: str, has_example: bool) -> list[Site]:
    """Return the sites of the kind ``name``, or the one at the path ``name``."""
    found = [site for site in available if name in (site.kind, site.path)]
    if found:
        return found
    if name in KINDS:
        kinds = {site.kind for site in available}
        has = ", ".join(kind for kind in KINDS if kind in kinds) or "none"
        more = "" if has_example else f" {_NEEDS_EXAMPLE}"
        raise InputError(f"This model has no pooling site of kind '{name}'. Its kinds: {has}.{more}", setting=_SETTING)
    if is_called(str(name)) and not has_example:
        raise InputError(f"Unknown pooling site '{name}'. {_NEEDS_EXAMPLE}", setting=_SETTING)
    hint = did_you_mean(name, [*KINDS, *(site.path for site in available)])
    hint = hint or f"Give a kind ({', '.join(KINDS)}) or the path of a site."
    raise InputError(f"Unknown pooling site '{name}'. {hint}", setting=_SETTING)


def _current(model: nn.Module, available: Sequence[Site], given: Site) -> Site:
    """Return the model's site at the path of ``given``, which may have been listed earlier with an example."""
    known = next((site for site in available if site.path == given.path), None)
    if known is None and is_called(given.path) and given.input_shape is not None:
        owner = given.path.partition(":")[0]
        if owner in dict(model.named_modules()):
            return given
    if known is None or _without_example(given) != _without_example(known):
        raise InputError(
            f"Site '{given.path}' is not a site of this model, or it has changed. List the sites again.",
            setting=_SETTING,
        )
    earlier = {name: getattr(given, name) for name in _FROM_EXAMPLE if getattr(known, name) is None}
    return dataclasses.replace(known, **earlier)


def _without_example(site: Site) -> Site:
    return dataclasses.replace(site, channels=None, input_shape=None, calls=None)
