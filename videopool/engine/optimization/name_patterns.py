"""Names of parameters and modules, chosen by patterns such as ``blocks.0.*``."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence

from videopool.errors import InputError


def matching(patterns: Sequence[str], names: Sequence[str], *, setting: str) -> frozenset[str]:
    """Return the ``names`` that at least one of ``patterns`` matches (``fnmatch``; ``*`` also matches dots).

    Raises:
        InputError: for ``setting``, if a pattern matches none of the names; it suggests the nearest one.
    """
    found: set[str] = set()
    for pattern in patterns:
        matched = fnmatch.filter(names, pattern)
        if not matched:
            near = difflib.get_close_matches(pattern.rstrip(".*"), names, n=1, cutoff=0)
            hint = f". Did you mean {near[0]!r}?" if near else ""
            raise InputError(f"{pattern!r} matches no name in the model{hint}", setting=setting)
        found.update(matched)
    return frozenset(found)
