"""Build a network by name, with its pooling in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from videopool.errors import InputError, did_you_mean
from videopool.models.c3d import c3d
from videopool.models.csn import csn
from videopool.models.r2plus1d import r2plus1d
from videopool.models.resnet import ResNet, resnet
from videopool.models.resnet3d import c2d, i3d, slow
from videopool.models.slowfast import slowfast
from videopool.models.target import build_target, call_builder, is_image_network, taking_images
from videopool.models.video_model import VideoModel
from videopool.models.video_resnet import VideoResNet, mc3, r3d
from videopool.models.x3d import x3d
from videopool.pooling import Change, swap
from videopool.pooling import fuse_relu as fuse
from videopool.pooling.methods import Method, check_method
from videopool.pooling.selection import Selector

MODELS: dict[str, Callable[..., VideoModel | VideoResNet | ResNet]] = {
    "c2d": c2d,
    "c3d": c3d,
    "csn": csn,
    "i3d": i3d,
    "mc3": mc3,
    "r2plus1d": r2plus1d,
    "r3d": r3d,
    "resnet": resnet,
    "slow": slow,
    "slowfast": slowfast,
    "x3d": x3d,
}

DEFAULT_SITES: dict[str, tuple[str, ...]] = {
    "c2d": ("pool",),
    "c3d": ("pool",),
    "csn": ("pool",),
    "i3d": ("pool",),
    # R3D, MC3, R(2+1)D and X3D have no pool but their head. Pooling at their strided shortcuts costs next to nothing
    # and keeps the cells that the stride drops; pooling after every strided convolution ("stride") multiplies their
    # arithmetic.
    "mc3": ("shortcut",),
    "r2plus1d": ("shortcut",),
    "r3d": ("shortcut",),
    "resnet": ("pool",),  # of the stem, as in the SoftPool paper
    "slow": ("pool",),
    "slowfast": ("pool",),
    "x3d": ("shortcut",),
}
_SITES_OF_OTHERS = ("pool",)


def build(
    name: str,
    /,
    *,
    classes: int,
    frames: int,
    crop: int,
    takes: str = "auto",
    pooling: Method = "none",
    pooling_sites: Selector = (),
    pooling_arguments: Mapping[str, Any] | None = None,
    fuse_relu: bool = False,
    any_size: bool = False,
    **builder_arguments: object,
) -> nn.Module:
    """Return the network ``name`` with random weights, drawn from torch's generator, and ``pooling`` at its sites.

    Args:
        name: a key of ``MODELS``, or ``package.module.function`` for any other network. That function is called with
            ``classes``, ``frames``, ``crop`` and the builder's arguments. It is imported and run, so name only
            packages that you trust. Its network must give logits [B,K], in training and evaluation mode alike.
        classes: K.
        frames: frames of a training clip.
        crop: side of a training clip in pixels.
        takes: what a network of another package takes: ``clips`` [B,3,T,H,W]; ``images`` [B,3,H,W], for ``frames=1``;
            ``auto`` means images where ``frames`` is 1 and the network has 2D convolutions but no 3D ones. The
            returned network always takes clips.
        pooling: a pooling method as for ``videopool.pooling.swap``, or ``none`` for the published architecture.
        pooling_sites: where, as for ``swap``; empty means ``DEFAULT_SITES`` of the model, and ``("pool",)`` in networks
            of other packages.
        pooling_arguments: the method's own arguments, such as ``{"beta": 2.0}`` of ``soft``.
        fuse_relu: let a SoftPool apply the ReLU before it (``videopool.pooling.fuse_relu``): faster, but such a pool
            cannot be swapped or restored.
        any_size: let the heads of videopool's networks average over all positions, so that clips smaller than
            ``frames`` and ``crop`` fit (``VideoModel.take_any_size``).
        builder_arguments: further arguments of the builder, such as ``depth``, ``width`` and ``dropout``.

    Returns:
        The network. Its attribute ``changes`` lists what ``swap`` changed, for ``videopool.pooling.report``.

    Raises:
        InputError: for an unknown name, argument, pooling method or site, and for numbers that describe no network.
    """
    if min(classes, frames, crop) < 1:
        raise InputError(f"classes={classes}, frames={frames} and crop={crop} must be 1 or more")
    every = {"classes": classes, "frames": frames, "crop": crop, **builder_arguments}
    model: Any = _build_own(name, takes, every) if "." not in name else _build_other(name, takes, every)
    if any_size and isinstance(model, VideoModel):
        model.take_any_size()
    sites = pooling_sites if callable(pooling_sites) or pooling_sites else DEFAULT_SITES.get(name, _SITES_OF_OTHERS)
    model.changes = with_pooling(model, pooling, sites, pooling_arguments, clip=(frames, crop, crop))
    if fuse_relu:
        fuse(model)
    return model


def with_pooling(
    model: nn.Module,
    pooling: Method,
    pooling_sites: Selector,
    pooling_arguments: Mapping[str, Any] | None = None,
    *,
    clip: tuple[int, int, int],
) -> tuple[Change, ...]:
    """Call ``videopool.pooling.swap`` on a network of clips, unless ``pooling`` is ``none``.

    A clip [1,3,*clip] is shown to the network, if possible without arithmetic, when the method has parameters for each
    channel, and to networks of other packages, which may call pools as functions.

    Raises:
        InputError: as ``swap`` does.
    """
    if pooling == "none":
        return ()
    own = dict(pooling_arguments or {})
    method = check_method(pooling, own)
    shown = not isinstance(model, VideoModel | VideoResNet | ResNet) or method.needs_channels(**own)
    example = torch.empty(1, 3, *clip, device="meta") if shown else None
    return swap(model, method, pooling_sites, arguments=own, example=example)


def _build_own(name: str, takes: str, arguments: Mapping[str, Any]) -> nn.Module:
    if name not in MODELS:
        hint = did_you_mean(name, MODELS) or f"Known models: {', '.join(MODELS)}."
        raise InputError(f"Unknown model '{name}'. {hint}", setting="name")
    if takes != "auto":
        raise InputError(f"takes='{takes}' is only for networks of other packages. Remove it.", setting="takes")
    if not 0 <= arguments.get("dropout", 0) < 1:
        raise InputError(f"dropout={arguments['dropout']} must be from 0 to below 1", setting="dropout")
    return call_builder(f"Model '{name}'", MODELS[name], arguments)


def _build_other(target: str, takes: str, arguments: Mapping[str, Any]) -> nn.Module:
    network, frames = build_target(target, arguments), arguments["frames"]
    if takes not in ("auto", "clips", "images"):
        raise InputError(f"takes={takes!r} must be 'auto', 'clips' or 'images'", setting="takes")
    if takes == "images" and frames != 1:
        raise InputError(f"takes='images' needs frames=1 (it is {frames})", setting="takes")
    as_images = takes == "images" or (takes == "auto" and frames == 1 and is_image_network(network))
    return taking_images(network) if as_images else network
