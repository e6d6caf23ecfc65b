"""The pages of the Python API: the public names of each package, whose docstrings mkdocstrings shows."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

PACKAGES = ("ops", "pooling", "models", "data", "engine", "export", "inference")


def api_pages() -> dict[str, str]:
    """Return the text of each page by its place in the site."""
    pages = {f"api/{name}.md": _page(f"videopool.{name}") for name in PACKAGES}
    return {"api/videopool.md": _page("videopool"), **pages}


def _page(name: str) -> str:
    package = importlib.import_module(name)
    names = sorted(package.__all__)
    lines = [f"# {name}", "", (package.__doc__ or "").strip(), "", "| name | |", "|---|---|"]
    lines += [f"| [`{public}`][{name}.{public}] | {_summary(getattr(package, public))} |" for public in names]
    for public in names:
        lines += ["", f"::: {name}.{public}"]
    return "\n".join(lines) + "\n"


def _summary(value: Any) -> str:
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return "a constant"
    first = (inspect.getdoc(value) or "").partition("\n\n")[0]
    return " ".join(first.replace("|", "&#124;").split())
