"""From a name and plain arguments to a network with its pooling in place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from torch import nn

from videopool.models.c3d import c3d
from videopool.models.r2plus1d import r2plus1d
from videopool.models.slowfast import slowfast
from videopool.models.target import build_target, check_arguments
from videopool.models.video_model import VideoModel
from videopool.models.x3d import x3d
from videopool.pooling import swap
from videopool.types import InputError

MODELS: dict[str, Callable[..., VideoModel]] = {"c3d": c3d, "r2plus1d": r2plus1d, "slowfast": slowfast, "x3d": x3d}

DEFAULT_SITES: dict[str, tuple[str, ...]] = {
    "c3d": ("pool",),
    # R(2+1)D and X3D have no pool but their head. Pooling their strided shortcuts costs next to nothing and keeps the
    # cells that the stride drops; pooling behind every strided convolution ("stride") multiplies their arithmetic.
    "r2plus1d": ("shortcut",),
    "slowfast": ("pool",),
    "x3d": ("shortcut",),
}

# Arguments of builders that have a parameter of their own in ``build``.
_GIVEN = ("classes", "frames", "crop", "dropout")


def build(
    name: str,
    *,
    classes: int,
    frames: int,
    crop: int,
    pooling: str = "none",
    sites: Sequence[str] = (),
    beta: float = 1.0,
    detach_weights: bool = False,
    dropout: float = 0.5,
    target: str = "",
    arguments: Mapping[str, object] = MappingProxyType({}),
) -> nn.Module:
    """A network with random weights (from torch's generator) and ``pooling`` at its sites.

    Args:
        name: a key of ``MODELS``.
        classes: K.
        frames: frames of a training clip.
        crop: side of a training clip in pixels.
        pooling: a key of ``videopool.pooling.METHODS``, or ``none`` for the published architecture.
        sites: kinds or paths of sites; empty means ``DEFAULT_SITES`` of the model, ``pool`` for a target.
        beta: inverse temperature of ``soft``.
        detach_weights: the paper's gradient for ``soft``.
        dropout: probability of dropping a feature before the classifier; a target is not given it.
        target: ``package.module.function`` of another package instead of ``name``; it is called with ``classes``,
            ``frames``, ``crop`` and ``arguments``.
        arguments: further arguments of the builder, such as ``depth`` and ``width``.

    Returns:
        The model, clips [B,3,T,H,W] to logits [B,K]; its attribute ``changes`` (a tuple of
        ``videopool.pooling.Change``) says what pooling was changed where.

    Raises:
        InputError: for a name, argument, pooling or site that does not exist, and for numbers that describe no network.
    """
    _check(classes, frames, crop, dropout, arguments)
    size = {"classes": classes, "frames": frames, "crop": crop}
    # Any: a network of another package gets the attribute "changes" too.
    model: Any
    if target:
        model, default = build_target(target, {**size, **arguments}), ("pool",)
    else:
        model, default = _build_ours(name, {**size, "dropout": dropout, **arguments}), DEFAULT_SITES[name]
    model.changes = ()
    if pooling != "none":
        model.changes = swap(model, pooling, tuple(sites) or default, beta=beta, detach_weights=detach_weights)
    return model


def _build_ours(name: str, arguments: Mapping[str, object]) -> VideoModel:
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f", did you mean '{near[0]}'?" if near else ""
        raise InputError(f"unknown model '{name}'{hint}; known: {', '.join(MODELS)}")
    check_arguments(f"model '{name}'", MODELS[name], arguments)
    return MODELS[name](**arguments)


def _check(classes: int, frames: int, crop: int, dropout: float, arguments: Mapping[str, object]) -> None:
    if min(classes, frames, crop) < 1 or not 0 <= dropout < 1:
        raise InputError(
            f"a model of {classes} classes, {frames} frames, crop {crop} and dropout {dropout} cannot be built; "
            "expected numbers of 1 or more and a dropout in [0, 1)"
        )
    twice = [argument for argument in arguments if argument in _GIVEN]
    if twice:
        raise InputError(f"model argument '{twice[0]}' has a setting of its own; take it out of the further arguments")
