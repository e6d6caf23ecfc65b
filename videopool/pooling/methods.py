"""The pooling methods by name.

Every method is ``Method(rank, kernel_size, stride, padding, dilation, ceil_mode)`` plus keyword arguments of
its own; ``rank`` is the number of pooled axes (1: [B,C,T], 2: [B,C,H,W], 3: [B,C,T,H,W]). The shape rules are
those of ``torch.nn.functional.max_pool3d``. ``kernel_size=None`` pools the whole extent to one cell.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from videopool.errors import InputError
from videopool.pooling.base import Pool, Sizes
from videopool.pooling.blur import BlurPool
from videopool.pooling.classic import AvgPool, GatedPool, LpPool, MaxPool, MixedPool
from videopool.pooling.dpp import DPPPool
from videopool.pooling.lip import LIPPool
from videopool.pooling.sampled import S3Pool, StochasticPool
from videopool.pooling.weighted import AdaPool, EDSCWPool, EMPool, SoftPool

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


def make_pool(
    method: str,
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
    """The layer of ``method`` for a window; the arguments are those of ``Pool`` and the method's own.

    Raises:
        InputError: for an unknown method, an argument that it does not take, and whatever the method refuses.
    """
    check_method(method, own)
    return METHODS[method](rank, kernel_size, stride, padding, dilation, ceil_mode, channels=channels, **own)


def check_method(method: str, own: Iterable[str] = ()) -> None:
    """Refuse a method that does not exist, and names of arguments that it does not take.

    Raises:
        InputError: with the nearest name.
    """
    if method not in METHODS:
        raise InputError(f"unknown pooling method '{method}'{nearest(method, METHODS)}; known: {', '.join(METHODS)}")
    known = METHODS[method].own_arguments()
    for name in own:
        if name not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise InputError(f"pooling '{method}' has no argument '{name}'{nearest(name, known)}; {takes}")


def nearest(name: str, known: Iterable[str]) -> str:
    """``, did you mean 'x'?`` with the known name that is most like ``name``, or an empty text."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f", did you mean '{near[0]}'?" if near else ""
