"""The notebooks of docs/gallery run, and are committed as they print."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "docs/gallery").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_small_and_have_no_paths_of_a_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text) < 200_000
    assert re.findall(r"(?:/home|/root|/tmp|/work|/usr)/[^\"\\ ]*", text) == []
    assert "FutureWarning" not in text


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    client.NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    assert (tmp_path / "runs/mine/evaluation/report.html").exists()
    for before, after in zip(nbformat.read(path, as_version=4).cells, notebook.cells, strict=True):
        assert kinds(before) <= kinds(after), after.source


def kinds(cell: dict) -> set[str]:
    """Return the kinds of the outputs of a cell, such as text and pictures."""
    return {kind for output in cell.get("outputs", []) for kind in output.get("data", {"text": ""})}
