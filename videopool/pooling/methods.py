"""The pooling methods by name.

Every method is ``Method(rank, kernel_size, stride, padding, dilation, ceil_mode)`` plus keyword arguments of
its own; ``rank`` is the number of pooled axes (1: [B,C,T], 2: [B,C,H,W], 3: [B,C,T,H,W]). The shape rules are
those of ``torch.nn.functional.max_pool3d``. ``kernel_size=None`` pools the whole extent to one cell.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from videopool.errors import InputError, did_you_mean
from videopool.pooling.base import Pool, Sizes
from videopool.pooling.blur import BlurPool
from videopool.pooling.classic import AvgPool, GatedPool, LpPool, MaxPool, MixedPool
from videopool.pooling.dpp import DPPPool
from videopool.pooling.lip import LIPPool
from videopool.pooling.sampled import S3Pool, StochasticPool
from videopool.pooling.weighted import AdaPool, EDSCWPool, EMPool, SoftPool
from videopool.targets import import_target

METHODS: dict[str, type[Pool]] = {
    "avg": AvgPool,
    "max": MaxPool,
    "lp": LpPool,
    "stochastic": StochasticPool,
    "s3": S3Pool,
    "mixed": MixedPool,
    "gated": GatedPool,
    "lip": LIPPool,
    "dpp": DPPPool,
    "adapool": AdaPool,
    "edscw": EDSCWPool,
    "em": EMPool,
    "blur": BlurPool,
    "soft": SoftPool,
}

Method = str | type[Pool]  # a key of METHODS, a Pool class, or "package.module.Class"


def make_pool(
    method: Method,
    rank: int,
    kernel_size: Sizes | None,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    *,
    channels: int | None = None,
    **own: Any,
) -> Pool:
    """Return the layer of ``method`` for a window; the arguments are those of ``Pool`` and the method's own.

    Raises:
        InputError: for an unknown method, an argument that it does not take, or a value that it does not allow.
    """
    made = check_method(method, own)
    return made(rank, kernel_size, stride, padding, dilation, ceil_mode, channels=channels, **own)


def find_method(method: Method) -> type[Pool]:
    """Return the class of ``method``: a key of ``METHODS``, ``package.module.Class``, or the class itself.

    Raises:
        InputError: for an unknown name, or a class that is not a pooling method.
    """
    if isinstance(method, str) and method in METHODS:
        return METHODS[method]
    if isinstance(method, str) and "." not in method:
        hint = did_you_mean(str(method), METHODS) or f"Known methods: {', '.join(METHODS)}."
        raise InputError(f"Unknown pooling method '{method}'. {hint}", setting="pooling")
    found: Any = import_target(method, setting="pooling") if isinstance(method, str) else method
    if not (isinstance(found, type) and issubclass(found, Pool) and isinstance(getattr(found, "method", None), str)):
        raise InputError(
            f"pooling={method!r} is not a pooling method. Derive a class from videopool.pooling.Pool and set its "
            "attribute 'method' to a name.",
            setting="pooling",
        )
    return found


def check_method(method: Method, own: Iterable[str] = ()) -> type[Pool]:
    """Return the class of ``method`` and check the names of its own arguments.

    Raises:
        InputError: for an unknown method or argument, with the nearest name.
    """
    found = find_method(method)
    known = found.own_arguments()
    for name in own:
        if name not in known:
            takes = f"It takes {', '.join(known)}." if known else "It takes none."
            raise InputError(
                f"Pooling method '{found.method}' has no argument '{name}'. {did_you_mean(str(name), known) or takes}",
                setting="pooling_arguments",
            )
    return found
