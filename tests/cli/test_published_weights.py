"""Weights of other packages are evaluated, used for predictions, explained and exported without a training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import videopool
from tests.models.published_shapes import pyslowfast_x3d
from tests.models.published_weights import weights_of
from videopool import models
from videopool.cli.main import main
from videopool.data import Normalize

FORM = """
model: {name: x3d, pooling: none}
clip: {frames: 4, stride: 2, scale: [64, 64], crop: 64}
evaluate: {clips: 2, crops: 1, resamples: 20}
train: {device: cpu}
"""
LOADED = "563 of the model's 563 tensors loaded from PySlowFast X3D; 563 renamed; 5 merged into others"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of PySlowFast: X3D-S for 8 classes."""
    path = tmp_path_factory.mktemp("published") / "X3D_S.pyth"
    torch.save({"epoch": 9, "model_state": weights_of(pyslowfast_x3d(8)), "cfg": "NUM_GPUS: 8"}, path)
    path.with_name("x3d.yaml").write_text(FORM)
    return path


@pytest.fixture
def published(weights: Path, motion_videos: Path, tool: Callable) -> Callable:
    """``published("evaluate", ...)`` runs a command on ``weights``."""

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        return tool(name, weights, "--config", weights.with_name("x3d.yaml"), *arguments)

    return run


def here(motion_videos: Path, *others: str) -> list[str]:
    return [f"data.root={motion_videos}", "data.test=test", "data.workers=0", *others]


@pytest.mark.slow
def test_evaluate_and_predict_give_the_scores_of_the_weights(
    published: Callable, weights: Path, motion_videos: Path
) -> None:
    ended = published("evaluate", *here(motion_videos), "--report")
    assert ended.code == 0, ended.err
    assert f"{weights}: {LOADED}" in ended.out
    folder = weights.with_suffix("") / "evaluation"
    metrics, saved = json.loads((folder / "metrics.json").read_text()), dict(np.load(folder / "scores.npz"))
    assert (metrics["videos"], metrics["views"], metrics["step"], metrics["weights"]) == (8, 2, None, "")
    assert metrics["config"]["model"]["name"] == "x3d"
    assert saved["classes"].tolist() == sorted(path.name for path in (motion_videos / "test").iterdir())
    page = (folder / "report.html").read_text()
    assert page.count("data:image/jpeg") > 0
    assert "The weights are of another package, so there are no training curves." in page
    assert "model.name" in page

    classifier = videopool.load(weights, config=weights.with_name("x3d.yaml"), classes=saved["classes"].tolist())
    clips = torch.randint(0, 256, (2, 3, 4, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    network = models.build("x3d", classes=8, frames=4, crop=64).eval()
    models.load_weights(network, torch.load(weights, weights_only=True))
    expected = network(Normalize((0.45,) * 3, (0.225,) * 3)(clips))
    torch.testing.assert_close(classifier.backend.scores(clips), expected.detach(), rtol=1e-4, atol=1e-5)
    assert expected.std() > 1e-2
    video = motion_videos / "test" / saved["names"][0]
    scores = classifier.scores(video).probabilities[0].numpy()
    np.testing.assert_allclose(scores, saved["scores"][saved["video"] == 0].mean(0), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_exports_hold_the_classes_and_the_origin(
    published: Callable, tool: Callable, weights: Path, motion_videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text("".join(f"class {letter}\n" for letter in "abcdefgh"))
    ended = published("export", "--format", "weights", "--to", tmp_path, "--classes", tmp_path / "names.txt")
    assert ended.code == 0, ended.err
    assert LOADED in ended.out
    origin = json.loads((tmp_path / "preprocessing.json").read_text())["provenance"]
    assert origin["published"] == "X3D_S.pyth"
    assert "train_list_sha256" not in origin
    video = next((motion_videos / "test").rglob("*.mp4"))
    exported = tool("predict", tmp_path / "model.safetensors", video, "--format", "csv")
    direct = published("predict", video, "--format", "csv", "--classes", tmp_path / "names.txt")
    assert (exported.code, direct.code) == (0, 0), direct.err
    assert exported.out == direct.out
    assert "class a" in direct.out
    assert LOADED in direct.err


@pytest.mark.slow
def test_explain(weights: Path, motion_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = next((motion_videos / "test").rglob("*.mp4"))
    network = [str(weights), "--config", str(weights.with_name("x3d.yaml"))]
    assert main(["explain", *network, str(video), "--to", str(tmp_path), "--class", "7"]) == 0
    printed = capsys.readouterr()
    assert "7 " in printed.out
    assert "layer blocks.4" in printed.out
    assert LOADED in printed.err


@pytest.mark.slow
def test_numbers_are_classes_of_the_weights(published: Callable, motion_videos: Path, tmp_path: Path) -> None:
    """A list with numbers may have fewer classes than the weights."""
    videos = sorted((motion_videos / "test").rglob("*.mp4"))[:3]
    (tmp_path / "val.csv").write_text("".join(f"{video} {label}\n" for label, video in enumerate(videos)))
    ended = published("evaluate", f"data.test={tmp_path / 'val.csv'}", "data.root=", "--to", tmp_path)
    assert ended.code == 0, ended.err
    assert np.load(tmp_path / "scores.npz")["classes"].tolist() == list("01234567")


@pytest.mark.slow
def test_what_does_not_fit_is_an_error(
    published: Callable, tool: Callable, weights: Path, motion_videos: Path, trained: Path, tmp_path: Path
) -> None:
    def error_of(ended: tuple[int, str, str]) -> str:
        assert ended[0] == 2
        assert ended[2].count("\n") == 1
        return ended[2]

    (tmp_path / "names.txt").write_text("a\nb\n")
    video = next((motion_videos / "test").rglob("*.mp4"))
    assert (
        error_of(published("predict", video, "--classes", tmp_path / "names.txt"))
        == f"error: --classes: there are 2 names, but {weights} has 8. Give the names of all classes, in the order of "
        "the file.\n"
    )
    for path in ("up/a.mp4", "down/b.mp4"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_bytes(video.read_bytes())
    two = error_of(published("evaluate", f"data.root={tmp_path}", "data.test=."))
    assert f"has 2 classes, but {weights} has 8." in two
    assert "add --config NAME" in error_of(tool("evaluate", weights))
    checkpoint = trained / "checkpoints/last.pt"
    assert "has its own configuration. Remove --config." in error_of(
        tool("evaluate", checkpoint, "--config", "demo", *here(motion_videos))
    )
    assert "a checkpoint has its classes" in error_of(tool("predict", checkpoint, video, "--classes", "names.txt"))
    assert "not for stored scores" in error_of(tool("evaluate", "--from", "scores.npz", "--config", "demo"))
    slow = error_of(published("evaluate", *here(motion_videos), "model.name=slow"))
    assert "The file has names of PySlowFast X3D, whose weights fit x3d" in slow
    headless = {name: value for name, value in weights_of(pyslowfast_x3d(8)).items() if "projection" not in name}
    torch.save(headless, tmp_path / "body.pyth")
    ended = tool("predict", tmp_path / "body.pyth", video, "--config", weights.with_name("x3d.yaml"))
    assert "2 missing (blocks.5.proj.weight and 1 more)" in error_of(ended)
