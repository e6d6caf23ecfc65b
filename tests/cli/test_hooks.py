"""The user's metrics and export formats, named on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

CODE = """
import torch
from pathlib import Path
from videopool.export import Exported


def accuracy(scores, labels):
    return (scores.argmax(1) == labels).double().mean()


def broken(scores, labels):
    raise ZeroDivisionError("no videos")


def classes(deployed, description, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text("\\n".join(description.classes))
    return Exported(folder / "classes.txt", 0.0)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user: its name, which no other test has imported."""
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.mark.slow
def test_a_metric_is_in_the_results_and_on_the_screen(own: str, trained: Path, tool: Callable, tmp_path: Path) -> None:
    ended = tool("evaluate", trained / "checkpoints/last.pt", f"evaluate.metrics=[{own}.accuracy]", "--to", tmp_path)
    assert ended.code == 0, ended.err
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["custom"] == {"accuracy": metrics["video_top1"]}
    assert "\naccuracy " in ended.out


@pytest.mark.parametrize(
    ("function", "answer"),
    [
        ("broken", "evaluate.metrics: metric broken failed: ZeroDivisionError: no videos"),
        ("missing", "has no attribute 'missing'"),
    ],
)
def test_a_metric_that_fails_is_one_sentence(
    function: str, answer: str, own: str, trained: Path, tool: Callable, tmp_path: Path
) -> None:
    ended = tool("evaluate", trained / "checkpoints/last.pt", f"evaluate.metrics=[{own}.{function}]", "--to", tmp_path)
    assert ended.code == 2
    assert answer in ended.err
    assert len(ended.err.splitlines()) == 1


def test_an_export_format(own: str, trained: Path, tool: Callable, tmp_path: Path) -> None:
    ended = tool("export", trained / "checkpoints/last.pt", "--format", f"{own}.classes", "--to", tmp_path / "to")
    assert ended.code == 0, ended.err
    assert f"written: {tmp_path / 'to/classes.txt'}" in ended.out
    assert (tmp_path / "to/classes.txt").read_text().count("\n") == 7


def test_an_unknown_export_format(trained: Path, tool: Callable) -> None:
    ended = tool("export", trained / "checkpoints/last.pt", "--format", "onx")
    assert ended.code == 2
    known = "weights, program, portable, onnx, int8, aoti, or package.module.function"
    assert f"--format=onx must be one of {known}" in ended.err


def test_results_without_further_metrics_have_no_entry(trained: Path, tool: Callable, tmp_path: Path) -> None:
    assert tool("evaluate", trained / "checkpoints/last.pt", "--to", tmp_path).code == 0
    assert "custom" not in json.loads((tmp_path / "metrics.json").read_text())
    assert np.load(tmp_path / "scores.npz")["scores"].shape[1] == 8
