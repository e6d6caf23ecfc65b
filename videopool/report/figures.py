"""Figures of matplotlib: write them to files, and escape names of files, classes and layers in them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videopool.files import atomic_write, escape_surrogates

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_text(text: str) -> str:
    """Return ``text`` for matplotlib to draw literally, with surrogates and the dollar signs of formulas escaped."""
    return escape_surrogates(text).replace("$", r"\$")


def save(figure: Figure, path: Path, suffixes: Sequence[str] = (".png",), *, dpi: int = 130) -> list[Path]:
    """Write ``figure`` to ``path`` with each of ``suffixes``; the same figure gives the same bytes."""
    import matplotlib

    written = [path.with_name(path.name + suffix) for suffix in suffixes]
    with matplotlib.rc_context({"svg.hashsalt": "videopool"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # drawn as a box
        for each in written:
            with atomic_write(each) as temporary:
                plain: dict[str, Any] = {"metadata": {"Date": None}} if each.suffix == ".svg" else {"dpi": dpi}
                figure.savefig(temporary, format=each.suffix[1:], **plain)
    return written


def file_name(number: int, name: str) -> str:
    """Return a name that sorts by ``number`` and is valid on every file system."""
    return f"{number:02d}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', name)}"
