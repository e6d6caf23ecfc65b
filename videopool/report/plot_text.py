"""Names of files, classes and layers as matplotlib draws them."""

from __future__ import annotations

from videopool.files import printable


def plot_text(text: str) -> str:
    """Return ``text`` for matplotlib to draw literally: surrogates are escaped, and dollar signs begin no formula."""
    return printable(text).replace("$", r"\$")
