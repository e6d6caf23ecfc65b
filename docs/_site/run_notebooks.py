"""Run the notebooks of docs/gallery and keep their outputs: ``python docs/_site/run_notebooks.py``.

Each runs in an empty folder. Warnings, paths of this machine, execution times and the larger of two forms of a picture
are left out.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient


def main() -> None:
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for path in sorted((Path(__file__).parents[1] / "gallery").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
            for cell in notebook.cells:
                cell.metadata.pop("execution", None)
                if cell.cell_type == "code":
                    cell.outputs = _kept(cell.outputs, f"{folder}/")
        nbformat.write(notebook, path)


def _kept(outputs: list[Any], folder: str) -> list[Any]:
    """Return the outputs to commit; consecutive texts are joined."""
    kept: list[Any] = []
    for output in outputs:
        if output.output_type != "stream":
            _drop_larger_picture(output.get("data", {}))
            kept.append(output)
        elif output.name == "stdout":
            output.text = output.text.replace(folder, "")
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text
            else:
                kept.append(output)
    return kept


def _drop_larger_picture(data: dict[str, str]) -> None:
    pictures = sorted((kind for kind in data if kind.startswith("image/")), key=lambda kind: len(data[kind]))
    for kind in pictures[1:]:
        del data[kind]


if __name__ == "__main__":
    main()
