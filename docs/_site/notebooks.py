"""Notebooks as pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def notebook_page(path: Path) -> str:
    """Return a notebook as Markdown: its text, its code, and what the code printed."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in _parts(cell)) + "\n"


def _parts(cell: dict[str, Any]) -> list[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    language, code = ("bash", source.removeprefix("%%bash\n")) if source.startswith("%%bash") else ("python", source)
    return [_block(language, code), *map(_output, cell["outputs"])]


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            return f'<img alt="" src="data:{kind};base64,{"".join("".join(data[kind]).split())}">'
    text = "".join(output.get("text", data.get("text/plain", "")))
    return _block("text", text.rstrip())


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"
