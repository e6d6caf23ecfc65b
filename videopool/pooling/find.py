"""Find the places where a network pools or downsamples by striding.

Four kinds of site:

* ``pool``: a max, average or soft pooling layer that is not the head.
* ``head``: the last pool before the classifier: a global pool, or a window that no spatial convolution follows.
* ``shortcut``: a strided 1x1x1 convolution, which drops all but one cell of each window.
* ``stride``: a strided convolution with a larger kernel.

Modules are found without an example input. Pools that a ``forward`` calls as functions (``F.max_pool2d``) are found
with one, which also gives the shapes. "Follows" means that a layer runs later (with an example) or is registered later
(without one), which is the same in most video networks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from torch import nn

from videopool import ops
from videopool.pooling.base import Pool, describe_window, per_axis
from videopool.pooling.called import average_name, called_path, called_pools, is_called, split_path
from videopool.pooling.observe import Observed, observe
from videopool.pooling.pooled_conv import PooledConv1d, PooledConv2d, PooledConv3d

KINDS = ("pool", "head", "shortcut", "stride")

_CONV_RANK: dict[type[nn.Module], int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
_POOLED = (PooledConv1d, PooledConv2d, PooledConv3d)
_WINDOWED: dict[type[nn.Module], tuple[str, int]] = {
    nn.MaxPool1d: ("max", 1),
    nn.MaxPool2d: ("max", 2),
    nn.MaxPool3d: ("max", 3),
    nn.AvgPool1d: ("avg", 1),
    nn.AvgPool2d: ("avg", 2),
    nn.AvgPool3d: ("avg", 3),
    ops.SoftPool1d: ("soft", 1),
    ops.SoftPool2d: ("soft", 2),
    ops.SoftPool3d: ("soft", 3),
}
_ADAPTIVE: dict[type[nn.Module], tuple[str, int]] = {
    nn.AdaptiveAvgPool1d: ("avg", 1),
    nn.AdaptiveAvgPool2d: ("avg", 2),
    nn.AdaptiveAvgPool3d: ("avg", 3),
    nn.AdaptiveMaxPool1d: ("max", 1),
    nn.AdaptiveMaxPool2d: ("max", 2),
    nn.AdaptiveMaxPool3d: ("max", 3),
    ops.AdaptiveSoftPool1d: ("soft", 1),
    ops.AdaptiveSoftPool2d: ("soft", 2),
    ops.AdaptiveSoftPool3d: ("soft", 3),
}
_POOLS: tuple[type[nn.Module], ...] = (Pool, *_WINDOWED, *_ADAPTIVE)


@dataclasses.dataclass(frozen=True)
class Site:
    """One place where a network pools or could pool. Sizes are in cells, one number for each of the ``rank`` axes.

    Attributes:
        path: of a module; or ``<module path>:<function>[k]`` for the k-th call of a pooling function in the forward of
            that module.
        kind: one of ``KINDS``.
        method: the name of a pooling method; ``conv`` for a strided convolution; ``avg (padding counted)`` and
            ``avg (divisor n)`` for averages that are not the mean of the real cells; ``max in MaxPool2dSame`` and the
            like for a subclass of torch's layers with its own forward.
        rank: the number of pooled axes.
        kernel_size: None for a global pool.
        channels: of the pooled input; None where unknown, or where they differ from one run to another.
        input_shape: of the example at this site, the first time it ran; None without an example, or if it did not run.
        calls: how many calls of the function the forward made in the example; None for a module.
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
    channels: int | None = None
    input_shape: tuple[int, ...] | None = None
    calls: int | None = None

    def describe(self) -> str:
        """Method and window in one line."""
        window = describe_window(self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        return f"{self.method} {window}"


# ``Any`` below stands for modules: nn.Module declares each attribute a Tensor or Module, kernel_size among them.


def sites(model: nn.Module, example: Any = None) -> tuple[Site, ...]:
    """Return all pooling sites of ``model`` in the order of registration, calls after the layers of their module.

    Left out, because a window pool cannot replace them: the model itself, pools that return indices, adaptive
    pools to more than one cell, global pools inside the network (squeeze-and-excitation), pools of predictions (after
    the classifier), convolutions that are subclassed or parametrized, means (``x.mean((2, 3))``), and calls within
    ``torch.utils.checkpoint``.

    Args:
        model: any network; it is not changed.
        example: an input of it: a tensor (on any device, meta included), or a tuple of its positional inputs. With it,
            sites have ``input_shape`` and ``channels``, and pools that are called as functions are found.

    Raises:
        InputError: when the model does not run on the example.
    """
    seen = None if example is None else observe(model, example)
    place = _places(model)
    found = [site for path, module in _outer_modules(model) if (site := _classify(path, module))]
    callers = [("", model), *_outer_modules(model)]
    found += [site for path, module in callers for site in _called_sites(path, module, seen)]
    found.sort(
        key=lambda site: (place[site.path][0], 0) if site.path in place else (place[parent_path(site.path)][1], 1)
    )
    heads = _heads(model, found, seen)
    named = (dataclasses.replace(site, kind="head") if site.path in heads else site for site in found)
    kept = (site for site in named if site.kind == "head" or not _is_squeeze(model, site, seen))
    return tuple(_with_shapes(site, model, seen) for site in kept)


def _outer_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield named modules, except the model, the parts of pools, and the pools in our convolutions and calls."""
    inner = {
        id(part) for pool in model.modules() if isinstance(pool, Pool) for part in pool.modules() if part is not pool
    }
    inner |= {id(module.pool) for module in model.modules() if isinstance(module, _POOLED)}
    inner |= {id(pool) for module in model.modules() for pool, _ in called_pools(module).values()}
    return ((path, module) for path, module in model.named_modules() if path and id(module) not in inner)


def _places(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Return, by path of a module, its number in the order of registration and that of the last module in it."""
    last = {path: number for number, (path, _) in enumerate(model.named_modules())}
    first = dict(last)
    for path in reversed(first):
        parent = parent_path(path)
        last[parent] = max(last.get(parent, 0), last[path])
    return {path: (number, last[path]) for path, number in first.items()}


def _called_sites(owner: str, module: nn.Module, seen: Observed | None) -> Iterator[Site]:
    """Yield the pools that ``module`` calls as functions; without an example, only those that layers replaced."""
    pools = called_pools(module)
    calls = seen.calls if seen else {}
    paths = [path for path in calls if parent_path(path) == owner and not isinstance(module, _POOLS)]
    paths += [called_path(owner, *key) for key in pools]
    for path in dict.fromkeys(paths):
        _, function, count = split_path(path)
        pool, replaced = pools.get((function, count), (None, None))
        if pool is not None and replaced is not None:
            yield dataclasses.replace(_pool_site(path, pool, "pool"), calls=replaced.calls)
        else:
            call = calls[path]
            window = (call.kernel_size, call.stride, call.padding, call.dilation, call.ceil_mode)
            total = seen.totals[owner, function] if seen else None
            yield Site(path, "pool", call.method, call.rank, *window, calls=total)


def _classify(path: str, module: nn.Module) -> Site | None:
    """Return the site of ``module``, with kind ``pool`` for heads too; None if it is not a site."""
    if isinstance(module, _POOLED) and type(module) in _POOLED and _has_own_weight(module):
        return _pool_site(path, module.pool, "shortcut" if module.pool_first else "stride")
    if type(module) in _CONV_RANK:
        return _conv_site(path, module)
    if isinstance(module, Pool):
        return _pool_site(path, module, "pool")
    return _torch_pool_site(path, module)


def _pool_site(path: str, pool: Pool, kind: str) -> Site:
    window = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)
    return Site(path, kind, pool.method, pool.rank, *window, channels=pool.channels)


def _conv_site(path: str, conv: Any) -> Site | None:
    rank = _CONV_RANK[type(conv)]
    kernel, stride = per_axis(conv.kernel_size, rank, "kernel_size"), per_axis(conv.stride, rank, "stride")
    if max(stride) == 1 or not _has_own_weight(conv):
        return None
    padding = (0,) * rank if isinstance(conv.padding, str) else per_axis(conv.padding, rank, "padding")
    kind = "stride" if max(kernel) > 1 or max(padding) > 0 else "shortcut"
    return Site(path, kind, "conv", rank, kernel, stride, padding, per_axis(conv.dilation, rank, "dilation"), False)


def _has_own_weight(conv: nn.Module) -> bool:
    """Return whether the weight is a parameter; one that a hook computes (weight normalization) cannot be moved."""
    return "weight" in conv._parameters


def _torch_pool_site(path: str, module: nn.Module) -> Site | None:
    """Return the site of a layer of torch or ``videopool.ops``, or of a class derived from one; None if not a site."""
    base = next((cls for cls in (*_WINDOWED, *_ADAPTIVE) if isinstance(module, cls)), None)
    if base is None or getattr(module, "return_indices", False):
        return None
    make = _adaptive_site if base in _ADAPTIVE else _window_site
    site = make(path, module, *(_ADAPTIVE.get(base) or _WINDOWED[base]))
    if site is not None and type(module).forward is not base.forward:
        return dataclasses.replace(site, method=f"{site.method} in {type(module).__name__}")
    return site


def _window_site(path: str, module: Any, method: str, rank: int) -> Site:
    kernel, padding = (per_axis(getattr(module, name), rank, name) for name in ("kernel_size", "padding"))
    if method == "avg":
        divisor = getattr(module, "divisor_override", None)
        method = average_name(padding, module.count_include_pad, divisor)
    return Site(
        path,
        "pool",
        method,
        rank,
        kernel,
        kernel if module.stride is None else per_axis(module.stride, rank, "stride"),
        padding,
        per_axis(getattr(module, "dilation", 1), rank, "dilation"),
        bool(module.ceil_mode),
    )


def _adaptive_site(path: str, module: Any, method: str, rank: int) -> Site | None:
    size = module.output_size if isinstance(module.output_size, tuple | list) else (module.output_size,)
    if any(cells != 1 for cells in size):
        return None
    return Site(path, "pool", method, rank, None, (1,) * rank, (0,) * rank, (1,) * rank, False)


def _heads(model: nn.Module, found: list[Site], seen: Observed | None) -> set[str]:
    """Return the paths of the last pool after all spatial convolutions and of its siblings."""
    place = _places(model)

    def when(path: str) -> float:
        if seen is not None:
            return seen.order.get(path, -1)
        return place[path][0] if path in place else place[parent_path(path)][1] + 0.5

    last_spatial = max((when(path) for path, module in _outer_modules(model) if _is_spatial_conv(module)), default=-1)
    after = (site for site in found if when(site.path) > last_spatial)
    candidates = [site.path for site in after if _may_be_head(site) and not _is_aside(model, site.path, seen)]
    if not candidates:
        return set()
    last = max(candidates, key=when)
    return {path for path in candidates if parent_path(path) == parent_path(last)}


def _is_spatial_conv(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and max(module.kernel_size) > 1


def _may_be_head(site: Site) -> bool:
    """Return whether a pool could be the head: it is global, or its unpadded window slides by one cell or is large.

    pytorchvideo's heads slide a window of the training size by one cell, to accept larger test crops.
    """
    if site.kind != "pool" or any(site.padding):
        return False
    return site.kernel_size is None or max(site.stride) == 1 or min(site.kernel_size[-2:]) >= 4


def _is_aside(model: nn.Module, path: str, seen: Observed | None) -> bool:
    """Return whether a pool feeds a gate (squeeze-and-excitation) or averages the predictions of a classifier."""
    parent = parent_path(path)
    children = dict(model.get_submodule(parent).named_children())
    if is_called(path):
        ran = seen.order if seen else {}
        before = [name for name in children if 0 < ran.get(_joined(parent, name), 0) < ran.get(path, 0)]
    else:
        before = list(children)[: list(children).index(path.rpartition(".")[2])]
    return _is_gate(model, parent, seen) or nn.Linear in (type(children[name]) for name in before)


def _is_gate(model: nn.Module, path: str, seen: Observed | None) -> bool:
    """Return whether the module at ``path`` has, or calls, a sigmoid and has no classifier."""
    kinds = [type(module) for module in model.get_submodule(path).children()]
    calls = bool(path) and seen is not None and path in seen.gates
    return (nn.Sigmoid in kinds or nn.Hardsigmoid in kinds or calls) and nn.Linear not in kinds


def _is_squeeze(model: nn.Module, site: Site, seen: Observed | None) -> bool:
    """Return whether a pool other than the head takes the whole extent, also by a window computed from its input."""
    call = seen.calls.get(site.path) if seen else None
    if site.kernel_size is None or call is None:
        return site.kernel_size is None
    return call.covers_all and (min(site.kernel_size[-2:]) >= 4 or _is_gate(model, parent_path(site.path), seen))


def _with_shapes(site: Site, model: nn.Module, seen: Observed | None) -> Site:
    """Return ``site`` with the shape of the example, and the channels of the example or of its layer."""
    shapes = seen.inputs.get(site.path, []) if seen else []
    channels = site.channels
    if site.kind in ("shortcut", "stride"):
        conv: Any = model.get_submodule(site.path)
        channels = conv.in_channels if site.kind == "shortcut" else conv.out_channels
    elif shapes:
        each = {shape[-site.rank - 1] for shape in shapes}
        channels = each.pop() if len(each) == 1 else None
    return dataclasses.replace(site, channels=channels, input_shape=shapes[0] if shapes else None)


def parent_path(path: str) -> str:
    """Return the path of the module that contains a module or makes a call."""
    return path.partition(":")[0] if is_called(path) else path.rpartition(".")[0]


def _joined(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent else name
