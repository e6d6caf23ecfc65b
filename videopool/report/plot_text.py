"""Escape names of files, classes and layers for matplotlib."""

from __future__ import annotations

from videopool.files import escape_surrogates


def plot_text(text: str) -> str:
    """Return ``text`` for matplotlib to draw literally, with surrogates and the dollar signs of formulas escaped."""
    return escape_surrogates(text).replace("$", r"\$")
