"""Errors that the user can fix. This module imports little, so that they are reported without waiting for torch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class InputError(ValueError):
    """Something that the user gave is wrong.

    The message is one or two sentences: the value, what is wrong with it, and what to do. The command line prints them
    and exits with code 2.

    Args:
        message: the sentences, which name arguments of Python, not keys of a configuration or options of a command.
        setting: the argument at fault, e.g. ``"root"``. The command line adds the key or option that sets it.
    """

    def __init__(self, message: str, *, setting: str = "") -> None:
        super().__init__(message)
        self.setting = setting


def did_you_mean(
    wrong: str, known: Iterable[str], *, first: Sequence[str] = (), most: int = 1, cutoff: float = 0.6
) -> str:
    """Return "Did you mean 'x'?" with the known names most similar to ``wrong``, or "" if none is similar.

    Args:
        first: names to suggest instead of similar ones.
        most: how many names to suggest at most.
        cutoff: the least similarity, from 0 to 1 (that of ``difflib.get_close_matches``).
    """
    near = first[:most] or difflib.get_close_matches(wrong, list(known), n=most, cutoff=cutoff)
    return f"Did you mean {' or '.join(map(repr, near))}?" if near else ""
