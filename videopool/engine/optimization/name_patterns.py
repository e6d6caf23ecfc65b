"""Names of parameters and modules, chosen by patterns such as ``blocks.0.*``."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from videopool.errors import InputError, did_you_mean


def matching(patterns: Sequence[str], names: Sequence[str], *, setting: str) -> frozenset[str]:
    """Return the ``names`` that at least one of ``patterns`` matches (``fnmatch``; ``*`` also matches dots).

    Raises:
        InputError: for ``setting``, if a pattern matches none of the names; it suggests the nearest one.
    """
    found: set[str] = set()
    for pattern in patterns:
        matched = fnmatch.filter(names, pattern)
        if not matched:
            hint = did_you_mean(pattern.rstrip(".*"), names, cutoff=0)
            raise InputError(f"{pattern!r} matches no name in the model. {hint}".rstrip(), setting=setting)
        found.update(matched)
    return frozenset(found)
