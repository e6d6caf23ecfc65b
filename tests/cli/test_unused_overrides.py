"""An override that a subcommand does not read is an error with what to do instead, not silence."""

from collections.abc import Callable
from pathlib import Path

import pytest

from videopool.cli.evaluate import UNUSED
from videopool.config.keys import keys_of
from videopool.config.schema import Config


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("out=elsewhere", "out=elsewhere has no effect here; give the folder of the results with --to FOLDER"),
        ("data.train=other.csv", "the videos to test are data.test"),
        ("optim.lr=1", "it is for training"),
        ("train.epochs=3", "it is for training"),
        ("augment.erase=0.5", "it is for training"),
        ("model.pretrained=x.pt", "the weights are those of the checkpoint"),
    ],
)
def test_evaluate_refuses_what_it_does_not_read(override: str, answer: str, trained: Path, tool: Callable) -> None:
    ended = tool("evaluate", trained / "checkpoints/last.pt", override)
    assert ended.code == 2
    assert answer in ended.err


def test_predict_and_feature_maps_refuse_as_well(trained: Path, motion_videos: Path, tool: Callable) -> None:
    video = next((motion_videos / "test").rglob("*.mp4"))
    checkpoint = trained / "checkpoints/last.pt"
    assert "predictions are printed" in tool("predict", checkpoint, video, "out=x").err
    assert "give videos as arguments" in tool("predict", checkpoint, video, "data.test=x").err
    assert "no effect" in tool("feature_maps", checkpoint, video, "evaluate.clips=2", "--to", "maps").err


def test_every_key_of_unused_exists() -> None:
    names = [key.name for key in keys_of(Config)]
    for name in UNUSED:
        assert any(key == name or key.startswith(f"{name}.") for key in names), name
