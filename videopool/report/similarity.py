"""Measure how much of the input of a pooling layer its output explains.

Shape legend: B batch, C channels, ``...`` one to three pooled axes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from videopool.errors import InputError
from videopool.pooling import PooledConv1d, PooledConv2d, PooledConv3d, sites

OnPool = Callable[[str, torch.Tensor, torch.Tensor], None]  # the path of a site, its input and its output


def information_kept(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the part of the variance of ``x`` that ``y``, enlarged to the size of ``x``, explains.

    ``1 - |x - up(y)|^2 / |x - mean_c(x)|^2``, where sums are over all elements, means over batch and positions of each
    channel, and ``up`` repeats cells (torch's ``nearest-exact``). It is 1 if nothing is lost, 0 if ``y`` is as good as
    the mean of each channel, and below 0 if it is worse, as maxima may be. For an ``x`` that is constant up to the
    rounding of its dtype it is 1 if ``y`` has the same value, and minus infinity otherwise.

    Args:
        x: float [B,C,...], with one to three pooled axes: the input of a pooling layer.
        y: float [B,C,...] with as many axes, of any size: its output.

    Returns:
        0-dim tensor on the device of ``x``, float32 (float64 for float64), without a gradient.

    Raises:
        ValueError: for shapes that do not belong to one layer.
    """
    if x.dim() not in (3, 4, 5) or x.dim() != y.dim() or x.shape[:2] != y.shape[:2] or not x.numel():
        raise ValueError(f"x {[*x.shape]} and y {[*y.shape]} must be [B,C,...] with equal B and C")
    dtype, eps = torch.promote_types(x.dtype, torch.float32), torch.finfo(x.dtype).eps
    x, y = x.detach().to(dtype), y.detach().to(dtype)
    lost = (x - functional.interpolate(y, size=x.shape[2:], mode="nearest-exact")).square().sum(dtype=torch.float64)
    mean = x.mean([0, *range(2, x.dim())], keepdim=True)
    whole = (x - mean).square().sum(dtype=torch.float64)
    rounding = eps**2 * x.square().sum(dtype=torch.float64)
    of_constant = torch.where(lost <= rounding, 1.0, -torch.inf)
    return torch.where(whole <= rounding, of_constant, 1 - lost / whole).to(dtype)


@contextlib.contextmanager
def watch_sites(model: nn.Module, on_pool: OnPool) -> Iterator[tuple[str, ...]]:
    """Within the block, call ``on_pool(path, x, y)`` each time a pooling layer of ``model`` has run.

    Watched are the layers that ``videopool.pooling.sites`` lists, and the pools of convolutions that downsample by
    pooling; not strided convolutions, nor pooling functions called in a ``forward``. ``x`` [B,C,...] is what is pooled,
    after the ReLU if the layer applies one. Both tensors are the network's own, detached. The network may overwrite
    them, so copy what you keep after the call.

    Args:
        model: any network; unchanged after the block.
        on_pool: takes the path of the site, ``x`` and ``y``.

    Yields:
        The paths of the watched sites, in the order of registration.
    """
    layers = pooling_layers(model)
    handles = [layer.register_forward_hook(_hook(path, on_pool), with_kwargs=True) for path, layer in layers.items()]
    try:
        yield tuple(layers)
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def run_watched(model: nn.Module, batches: Iterable[torch.Tensor], on_pool: OnPool) -> None:
    """Run ``model`` in eval mode on each of ``batches`` under ``watch_sites``; its mode is restored."""
    was_training = model.training
    model.eval()
    try:
        with watch_sites(model, on_pool):
            for batch in batches:
                model(batch)
    finally:
        model.train(was_training)


def pooling_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that pool at the sites of ``model``, by the path of the site."""
    modules = dict(model.named_modules())
    layers = {site.path: modules[site.path] for site in sites(model) if site.path in modules and site.method != "conv"}
    return {
        path: module.pool if isinstance(module, PooledConv1d | PooledConv2d | PooledConv3d) else module
        for path, module in layers.items()
    }


@torch.inference_mode()
def kept_by_site(model: nn.Module, batches: Iterable[torch.Tensor]) -> dict[str, float]:
    """Return the information kept at each pooling site of ``model`` in eval mode, averaged over samples.

    Args:
        model: any network; its mode is restored.
        batches: preprocessed inputs on the device of the network, [B,C,...] each.

    Returns:
        ``information_kept`` by the path of the site, in the order of registration, without sites that did not run. A
        batch is weighted by its samples; a layer that runs more than once counts each time.

    Raises:
        InputError: for a model without a pooling layer.
    """
    sums: dict[str, torch.Tensor] = {}
    weights: dict[str, int] = {}

    def on_pool(path: str, x: torch.Tensor, y: torch.Tensor) -> None:
        sums[path] = sums.get(path, 0) + len(x) * information_kept(x, y).double()
        weights[path] = weights.get(path, 0) + len(x)

    paths = pooling_layers(model)
    if not paths:
        raise InputError("The model has no pooling layer that videopool.pooling.sites lists. Choose another model.")
    run_watched(model, batches, on_pool)
    return {path: float(sums[path]) / weights[path] for path in paths if path in sums}


def _hook(path: str, on_pool: OnPool) -> Callable[..., None]:
    def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], y: torch.Tensor) -> None:
        x = args[0] if args else next(iter(kwargs.values()))
        on_pool(path, (functional.relu(x) if getattr(layer, "relu", False) is True else x).detach(), y.detach())

    return hook
