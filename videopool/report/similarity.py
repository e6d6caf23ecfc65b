"""How much of what goes into a pooling layer can be told from what comes out of it.

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

See = Callable[[str, torch.Tensor, torch.Tensor], None]  # path of a site, what it pools, what comes out


def information_kept(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The part of the variance of ``x`` about the mean of each channel that ``y``, brought back to size, explains.

    ``1 - |x - up(y)|^2 / |x - mean_c(x)|^2``, sums over everything, the means over batch and positions; ``up`` repeats
    cells (nearest neighbour between the centres of cells, torch's ``nearest-exact``). 1 when nothing is lost, 0 when
    ``y`` says no more than the mean of each channel, below 0 when it says less, as a maximum may. An ``x`` that is
    constant, up to the rounding of its dtype, has nothing to lose: 1 if ``y`` gives it, minus infinity if not.

    Args:
        x: float [B,C,...], one to three axes behind the channels: the input of a pooling layer.
        y: float [B,C,...] with as many axes, of any size: its output.

    Returns:
        0-dim tensor on the device of ``x``, float32 (float64 for float64), without a gradient.

    Raises:
        ValueError: for shapes that are not those of one layer.
    """
    if x.dim() not in (3, 4, 5) or x.dim() != y.dim() or x.shape[:2] != y.shape[:2] or not x.numel():
        raise ValueError(f"expected x and y as [B,C,...] of one batch and channels, got {[*x.shape]} and {[*y.shape]}")
    dtype, eps = torch.promote_types(x.dtype, torch.float32), torch.finfo(x.dtype).eps
    x, y = x.detach().to(dtype), y.detach().to(dtype)
    lost = (x - functional.interpolate(y, size=x.shape[2:], mode="nearest-exact")).square().sum(dtype=torch.float64)
    mean = x.mean([0, *range(2, x.dim())], keepdim=True)
    whole = (x - mean).square().sum(dtype=torch.float64)
    rounding = eps**2 * x.square().sum(dtype=torch.float64)
    of_constant = torch.where(lost <= rounding, 1.0, -torch.inf)
    return torch.where(whole <= rounding, of_constant, 1 - lost / whole).to(dtype)


@contextlib.contextmanager
def watch_sites(model: nn.Module, see: See) -> Iterator[tuple[str, ...]]:
    """Within the block, ``see(path, x, y)`` is called whenever a pooling layer of ``model`` has run.

    Watched are the layers that ``videopool.pooling.sites`` lists, and the pools inside of convolutions that downsample
    by pooling; not strided convolutions, nor pooling functions called inside a ``forward``. ``x`` [B,C,...] is what is
    pooled: behind the ReLU where the layer applies it itself. Both tensors are the network's own, detached: copy what
    is kept longer than the call, since the network may overwrite them.

    Args:
        model: left as it was when the block ends.
        see: takes the path of the site, ``x`` and ``y``.

    Returns:
        The paths of the watched sites, in the order of registration.
    """
    layers = pooling_layers(model)
    handles = [layer.register_forward_hook(_watcher(path, see), with_kwargs=True) for path, layer in layers.items()]
    try:
        yield tuple(layers)
    finally:
        for handle in handles:
            handle.remove()


def pooling_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that pool at the sites of ``model``, by the path of the site."""
    modules = dict(model.named_modules())
    layers = {site.path: modules[site.path] for site in sites(model) if site.path in modules and site.method != "conv"}
    return {
        path: module.pool if isinstance(module, PooledConv1d | PooledConv2d | PooledConv3d) else module
        for path, module in layers.items()
    }


@torch.inference_mode()
def kept_by_site(model: nn.Module, batches: Iterable[torch.Tensor]) -> dict[str, float]:
    """The information kept at each pooling site of ``model`` in eval mode, averaged over the samples of ``batches``.

    Args:
        model: any network; its mode is put back.
        batches: inputs of the network, prepared and on its device, [B,C,...] each.

    Returns:
        Path of the site to ``information_kept``, in the order of registration; sites that no batch reached are left
        out. A batch weighs as much as it has samples, a layer that runs more than once counts each time.

    Raises:
        InputError: for a model without a pooling layer that could be watched.
    """
    sums: dict[str, torch.Tensor] = {}
    weights: dict[str, int] = {}

    def see(path: str, x: torch.Tensor, y: torch.Tensor) -> None:
        sums[path] = sums.get(path, 0) + len(x) * information_kept(x, y).double()
        weights[path] = weights.get(path, 0) + len(x)

    was_training = model.training
    model.eval()
    try:
        with watch_sites(model, see) as paths:
            if not paths:
                raise InputError("the model has no pooling layer to watch; give one that videopool.pooling.sites lists")
            for batch in batches:
                model(batch)
    finally:
        model.train(was_training)
    return {path: float(sums[path]) / weights[path] for path in paths if path in sums}


def _watcher(path: str, see: See) -> Callable[..., None]:
    def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], y: torch.Tensor) -> None:
        x = args[0] if args else next(iter(kwargs.values()))
        see(path, (functional.relu(x) if getattr(layer, "relu", False) is True else x).detach(), y.detach())

    return hook
