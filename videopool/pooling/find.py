"""Finding the places where a network pools, or downsamples by striding.

Four kinds of site:

* ``pool``: a max, average or soft pooling layer that is not the head.
* ``head``: the pool that closes the features: a global pool, or a window that no spatial convolution follows.
* ``shortcut``: a strided 1x1x1 convolution, which drops all but one cell of each window.
* ``stride``: a strided convolution with a larger kernel.

Only layers that are modules are seen; a pooling function called inside a ``forward`` is not. "Follows" means registered
later, which is the order of the forward pass in the networks of this field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from torch import nn

from videopool.ops import SoftPool1d, SoftPool2d, SoftPool3d
from videopool.pooling.base import Pool, describe_window, per_axis
from videopool.pooling.pooled_conv import PooledConv1d, PooledConv2d, PooledConv3d

KINDS = ("pool", "head", "shortcut", "stride")

_CONV_RANK: dict[type[nn.Module], int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
_POOLED = (PooledConv1d, PooledConv2d, PooledConv3d)
_MAX_RANK: dict[type[nn.Module], int] = {nn.MaxPool1d: 1, nn.MaxPool2d: 2, nn.MaxPool3d: 3}
_AVERAGE_RANK: dict[type[nn.Module], int] = {nn.AvgPool1d: 1, nn.AvgPool2d: 2, nn.AvgPool3d: 3}
_SOFT_RANK: dict[type[nn.Module], int] = {SoftPool1d: 1, SoftPool2d: 2, SoftPool3d: 3}
_ADAPTIVE: dict[type[nn.Module], tuple[str, int]] = {
    nn.AdaptiveAvgPool1d: ("avg", 1),
    nn.AdaptiveAvgPool2d: ("avg", 2),
    nn.AdaptiveAvgPool3d: ("avg", 3),
    nn.AdaptiveMaxPool1d: ("max", 1),
    nn.AdaptiveMaxPool2d: ("max", 2),
    nn.AdaptiveMaxPool3d: ("max", 3),
}


@dataclasses.dataclass(frozen=True)
class Site:
    """One place where a network pools or could pool.

    ``method`` is a key of ``METHODS``, or else what stands there: ``conv`` for a strided convolution,
    ``avg (padding counted)`` and ``avg (divisor n)`` for averages that are not the mean of the real cells.
    ``kernel_size`` is None for a global pool; sizes are in cells, one number for each of the ``rank`` axes.
    """

    path: str
    kind: str
    method: str
    rank: int
    kernel_size: tuple[int, ...] | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool

    def describe(self) -> str:
        """Method and window in one line."""
        window = describe_window(self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        return f"{self.method} {window}"


# ``Any`` below stands for modules: nn.Module declares each attribute a Tensor or Module, kernel_size among them.


def sites(model: nn.Module) -> tuple[Site, ...]:
    """Every pooling site of ``model``, in the order of registration.

    Left out, because a window pool cannot stand in for them: the model itself, pools that return indices, adaptive
    pools to more than one cell, global pools inside the network (squeeze-and-excitation), pools of predictions (after
    the classifier), and convolutions that are subclassed or parametrized.
    """
    modules = list(_outer_modules(model))
    found = [(index, site) for index, (path, module) in enumerate(modules) if (site := _classify(path, module))]
    last_spatial = max((i for i, (_, module) in enumerate(modules) if _is_spatial_conv(module)), default=-1)
    candidates = [
        site.path
        for index, site in found
        if index > last_spatial and _may_be_head(site) and not _is_aside(model, site.path)
    ]
    heads = {path for path in candidates if _parent_path(path) == _parent_path(candidates[-1])}
    named = (dataclasses.replace(site, kind="head") if site.path in heads else site for _, site in found)
    return tuple(site for site in named if site.kind == "head" or site.kernel_size is not None)


def _outer_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Named modules without the model itself and without the pools inside of our convolutions."""
    inner = {id(module.pool) for module in model.modules() if isinstance(module, _POOLED)}
    return ((path, module) for path, module in model.named_modules() if path and id(module) not in inner)


def _classify(path: str, module: nn.Module) -> Site | None:
    """The site that ``module`` is, the head not yet told from other pools; None where it is no site."""
    if isinstance(module, _POOLED):
        kind = "shortcut" if module.pool_first else "stride"
        return _pool_site(path, module.pool, kind)
    if type(module) in _CONV_RANK:
        return _conv_site(path, module)
    if isinstance(module, Pool):
        return _pool_site(path, module, "pool")
    return _torch_pool_site(path, module)


def _pool_site(path: str, pool: Pool, kind: str) -> Site:
    return Site(
        path,
        kind,
        pool.method,
        pool.rank,
        pool.kernel_size,
        pool.stride,
        pool.padding,
        pool.dilation,
        pool.ceil_mode,
    )


def _conv_site(path: str, conv: Any) -> Site | None:
    rank = _CONV_RANK[type(conv)]
    kernel, stride = per_axis(conv.kernel_size, rank, "kernel_size"), per_axis(conv.stride, rank, "stride")
    # A weight computed by a hook (weight normalisation) is no parameter: it could not be moved to another module.
    if max(stride) == 1 or "weight" not in conv._parameters:
        return None
    padding = (0,) * rank if isinstance(conv.padding, str) else per_axis(conv.padding, rank, "padding")
    kind = "stride" if max(kernel) > 1 or max(padding) > 0 else "shortcut"
    return Site(path, kind, "conv", rank, kernel, stride, padding, per_axis(conv.dilation, rank, "dilation"), False)


def _torch_pool_site(path: str, module: nn.Module) -> Site | None:
    if type(module) in _ADAPTIVE:
        return _adaptive_site(path, module)
    for ranks, method in ((_MAX_RANK, "max"), (_AVERAGE_RANK, _average_name(module)), (_SOFT_RANK, "soft")):
        if type(module) in ranks and not getattr(module, "return_indices", False):
            return _window_site(path, module, method, ranks[type(module)])
    return None


def _window_site(path: str, module: Any, method: str, rank: int) -> Site:
    kernel = per_axis(module.kernel_size, rank, "kernel_size")
    return Site(
        path,
        "pool",
        method,
        rank,
        kernel,
        kernel if module.stride is None else per_axis(module.stride, rank, "stride"),
        per_axis(module.padding, rank, "padding"),
        per_axis(getattr(module, "dilation", 1), rank, "dilation"),
        bool(module.ceil_mode),
    )


def _average_name(module: nn.Module) -> str:
    """``avg``, or what is particular where the layer is not the mean of the real cells of a window."""
    divisor = getattr(module, "divisor_override", None)
    if divisor is not None:
        return f"avg (divisor {divisor})"
    padding = getattr(module, "padding", 0)
    padded = max(padding) > 0 if isinstance(padding, tuple | list) else padding != 0
    return "avg (padding counted)" if padded and getattr(module, "count_include_pad", False) else "avg"


def _adaptive_site(path: str, module: Any) -> Site | None:
    method, rank = _ADAPTIVE[type(module)]
    size = module.output_size if isinstance(module.output_size, tuple | list) else (module.output_size,)
    if any(cells != 1 for cells in size) or getattr(module, "return_indices", False):
        return None
    return Site(path, "pool", method, rank, None, (1,) * rank, (0,) * rank, (1,) * rank, False)


def _is_spatial_conv(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and max(module.kernel_size) > 1


def _may_be_head(site: Site) -> bool:
    """A pool that could be the last one: global, or an unpadded window that slides by one cell or is large.

    pytorchvideo's heads slide a window of the training size by one cell, so that they take larger test crops.
    """
    if site.kind != "pool" or any(site.padding):
        return False
    return site.kernel_size is None or max(site.stride) == 1 or min(site.kernel_size[-2:]) >= 4


def _is_aside(model: nn.Module, path: str) -> bool:
    """Whether a pool feeds a gate (squeeze-and-excitation) or averages the predictions of a classifier."""
    siblings = dict(model.get_submodule(_parent_path(path)).named_children())
    name = path.rpartition(".")[2]
    kinds = [type(module) for module in siblings.values()]
    gate = (nn.Sigmoid in kinds or nn.Hardsigmoid in kinds) and nn.Linear not in kinds
    return gate or nn.Linear in kinds[: list(siblings).index(name)]


def _parent_path(path: str) -> str:
    return path.rpartition(".")[0]
