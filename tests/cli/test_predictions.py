"""Lists without labels: evaluation writes predictions, training refuses them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import QUICK, ROOT
from videopool.engine.checkpoints.files import read_checkpoint


@pytest.fixture
def unlabeled(motion_videos: Path, tmp_path: Path) -> Path:
    """A list of the test videos without labels, in the order of the labeled list."""
    paths = sorted(
        path.relative_to(motion_videos / "test").as_posix() for path in (motion_videos / "test").rglob("*.mp4")
    )
    (tmp_path / "test.txt").write_text("".join(f"{path}\n" for path in paths))
    return tmp_path / "test.txt"


def predicted(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("views", [["evaluate.clips=2"], ["evaluate.clips=0"]])
def test_predictions_equal_those_of_the_labeled_list(
    trained: Path, motion_videos: Path, unlabeled: Path, tool: Callable, tmp_path: Path, views: list[str]
) -> None:
    checkpoint = trained / "checkpoints/last.pt"
    assert tool("evaluate", checkpoint, "--to", tmp_path / "labeled", *views).code == 0
    root = f"data.root={motion_videos / 'test'}"
    ended = tool("evaluate", checkpoint, "--to", tmp_path / "to", root, f"data.test={unlabeled}", *views)
    assert ended.code == 0, ended.err
    assert "8 videos classified; without labels there is no accuracy" in ended.out
    assert f"{tmp_path}/to/predictions.csv" in ended.out
    assert "top-1" not in ended.out
    metrics = json.loads((tmp_path / "to/metrics.json").read_text())
    assert (metrics["videos"], metrics["unscored"]) == (8, 0)
    assert not {"video_top1", "confusion", "per_class"} & metrics.keys()
    expected, saved = (dict(np.load(tmp_path / name / "scores.npz")) for name in ("labeled", "to"))
    np.testing.assert_array_equal(saved["scores"], expected["scores"])
    assert (saved["labels"] == -1).all()
    classes = read_checkpoint(checkpoint)["classes"]
    rows = predicted(tmp_path / "to")
    assert [row["path"] for row in rows] == unlabeled.read_text().split()
    for video, row in enumerate(rows):
        mean = saved["scores"][saved["video"] == video].astype(np.float64).mean(0)
        assert row["class"] == classes[mean.argmax()]
        assert float(row["probability"]) == pytest.approx(mean.max(), abs=1e-6)


def test_broken_videos_have_no_prediction(trained: Path, unlabeled: Path, motion_videos: Path, tool: Callable) -> None:
    unlabeled.write_text(unlabeled.read_text() + "missing.mp4\n")
    places = [f"data.root={motion_videos / 'test'}", f"data.test={unlabeled}", "--to", unlabeled.parent / "to"]
    refused = tool("evaluate", trained / "checkpoints/last.pt", *places)
    assert refused.code == 2
    assert "1 of 9 videos could not be scored" in refused.err
    allowed = tool("evaluate", trained / "checkpoints/last.pt", *places, "evaluate.allow_missing=true")
    assert allowed.code == 0, allowed.err
    assert "8 videos classified" in allowed.out
    assert "the list has no labels\n" in allowed.out  # a note about the list
    assert len(predicted(unlabeled.parent / "to")) == 8


@pytest.mark.parametrize("key", ["data.train", "data.test"])
def test_training_needs_labels(key: str, motion_videos: Path, unlabeled: Path, tool: Callable, tmp_path: Path) -> None:
    lists = {"data.train": motion_videos / "train", "data.test": motion_videos / "test", key: unlabeled}
    keys = [f"{name}={place}" for name, place in lists.items()]
    arguments = ["--config", ROOT / "configs/demo.yaml", *QUICK, f"data.root={motion_videos / 'test'}"]
    ended = tool("train", *arguments, *keys, f"out={tmp_path / 'run'}")
    assert ended.code == 2
    assert f"{unlabeled} has no labels, which training and validation need. Give a list with lines" in ended.err
    assert not (tmp_path / "run").exists()


def test_single_class_folder_that_contains_class_folders(motion_videos: Path, tool: Callable, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/inner").symlink_to(motion_videos / "train")
    arguments = ["--config", ROOT / "configs/demo.yaml", *QUICK, f"data.root={tmp_path}", f"out={tmp_path / 'run'}"]
    ended = tool("train", *arguments, "data.train=set", "data.test=set")
    assert ended.code == 2
    assert f"if the folders in it are the classes, give {tmp_path}/set/inner" in ended.err
