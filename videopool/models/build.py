"""From a name and plain arguments to a network with its pooling in place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from videopool.errors import InputError
from videopool.models.c3d import c3d
from videopool.models.r2plus1d import r2plus1d
from videopool.models.resnet import ResNet, resnet
from videopool.models.slowfast import slowfast
from videopool.models.target import call_builder
from videopool.models.video_model import VideoModel
from videopool.models.x3d import x3d
from videopool.pooling import METHODS, Change, swap
from videopool.pooling.methods import check_method

MODELS: dict[str, Callable[..., VideoModel | ResNet]] = {
    "c3d": c3d,
    "r2plus1d": r2plus1d,
    "resnet": resnet,
    "slowfast": slowfast,
    "x3d": x3d,
}

DEFAULT_SITES: dict[str, tuple[str, ...]] = {
    "c3d": ("pool",),
    # R(2+1)D and X3D have no pool but their head. Pooling their strided shortcuts costs next to nothing and keeps the
    # cells that the stride drops; pooling behind every strided convolution ("stride") multiplies their arithmetic.
    "r2plus1d": ("shortcut",),
    "resnet": ("pool",),  # of the stem, where the authors of SoftPool put theirs
    "slowfast": ("pool",),
    "x3d": ("shortcut",),
}


def build(
    name: str,
    *,
    classes: int,
    frames: int,
    crop: int,
    pooling: str = "none",
    sites: Sequence[str] = (),
    pooling_arguments: Mapping[str, object] | None = None,
    dropout: float = 0.5,
    **arguments: object,
) -> VideoModel | ResNet:
    """The network ``name`` with random weights (from torch's generator) and ``pooling`` at its sites.

    Args:
        name: a key of ``MODELS``.
        classes: K.
        frames: frames of a training clip.
        crop: side of a training clip in pixels.
        pooling: a key of ``videopool.pooling.METHODS``, or ``none`` for the published architecture.
        sites: kinds or paths of sites; empty means ``DEFAULT_SITES`` of the model.
        pooling_arguments: the method's own arguments, such as ``{"beta": 2.0}`` of ``soft``.
        dropout: probability of dropping a feature before the classifier.
        arguments: further arguments of the builder, such as ``depth`` and ``width``.

    Returns:
        The model; ``model.changes`` says what pooling was changed where.

    Raises:
        InputError: for a name, argument, pooling or site that does not exist, and for numbers that describe no network.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f", did you mean '{near[0]}'?" if near else ""
        raise InputError(f"unknown model '{name}'{hint}; known: {', '.join(MODELS)}")
    if min(classes, frames, crop) < 1 or not 0 <= dropout < 1:
        raise InputError(
            f"a model of {classes} classes, {frames} frames, crop {crop} and dropout {dropout} cannot be built; "
            "expected numbers of 1 or more and a dropout in [0, 1)"
        )
    every = {"classes": classes, "frames": frames, "crop": crop, "dropout": dropout, **arguments}
    model = call_builder(f"model '{name}'", MODELS[name], every)
    where = tuple(sites) or DEFAULT_SITES[name]
    model.changes = with_pooling(model, pooling, where, pooling_arguments, clip=(frames, crop, crop))
    return model


def with_pooling(
    model: nn.Module,
    pooling: str,
    sites: Sequence[str],
    arguments: Mapping[str, object] | None = None,
    *,
    clip: tuple[int, int, int] | None = None,
) -> tuple[Change, ...]:
    """``videopool.pooling.swap``, where ``none`` leaves ``model`` as it is; also for networks of ``build_target``.

    Args:
        model: the network, which takes clips [B,3,T,H,W].
        pooling: a key of ``videopool.pooling.METHODS``, or ``none``.
        sites: kinds or paths of sites.
        arguments: the method's own arguments.
        clip: T, H, W of a training clip. One is shown to the network, without arithmetic where that can be, when the
            method has parameters for each channel, and to networks of others, which may call pools as functions.

    Raises:
        InputError: as ``swap`` does.
    """
    if pooling == "none":
        return ()
    own: dict[str, Any] = dict(arguments or {})
    check_method(pooling, own)  # before a name such as ``example`` could be taken for one of ``swap``
    ours = isinstance(model, VideoModel | ResNet)
    shown = clip is not None and (not ours or METHODS[pooling].needs_channels(**own))
    example = torch.empty(1, 3, *(clip or ()), device="meta") if shown else None
    return swap(model, pooling, sites, example=example, **own)
