"""Features of a named layer, in memory and in files."""

from pathlib import Path

import numpy as np
import pytest
import torch

import videopool
from videopool.data.loading.dataset import TestVideos
from videopool.errors import InputError
from videopool.inference.backends import BackendModule
from videopool.inference.features import FeatureFile, Features, LayerTap, find_layer
from videopool.types import VideoRecord


@pytest.fixture(scope="module")
def videos(motion_videos: Path) -> list[Path]:
    return sorted((motion_videos / "test").rglob("*.mp4"))


def test_features_are_the_mean_of_what_the_layer_returns(trained: Path, videos: list[Path], tmp_path: Path) -> None:
    classifier = videopool.load(trained)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"x")
    scores, found = classifier.features([videos[0], broken, videos[1]], "blocks.1")
    assert [bad.video for bad in scores.bad] == [1]
    torch.testing.assert_close(
        scores.probabilities[[0, 2]], classifier.scores([videos[0], videos[1]]).probabilities, atol=1e-6, rtol=0
    )
    assert found.video.tolist() == [0] * 6 + [2] * 6
    dataset = TestVideos([VideoRecord("v", videos[1], 0)], classifier.sampling, clips=2, crops=3)
    views = dataset[0]
    clips = torch.stack([clip.frames for clip in views])
    with torch.inference_mode():
        blocks = classifier.model.get_submodule("blocks")
        x = classifier.preprocessing(clips)
        for block in list(blocks)[:2]:
            x = block(x)
    torch.testing.assert_close(found.values[6:], x.double().mean((2, 3, 4)).float(), atol=1e-5, rtol=1e-5)
    assert found.seconds[6:].tolist() == [list(clip.seconds) for clip in views]


def test_features_of_no_videos(trained: Path) -> None:
    scores, found = videopool.load(trained).features([], "blocks.1")
    assert (len(scores.probabilities), len(found.values)) == (0, 0)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("blcks.1", r"no layer 'blcks.1'. Did you mean 'blocks.1'"),
        ("conv0", r"no layer 'conv0'. Did you mean 'blocks.0.conv0' or 'blocks.1.conv0'"),
        ("zzzz", r"no layer 'zzzz'. It has blocks\.0, blocks\.1"),
        ("", r"no layer ''."),
    ],
)
def test_an_unknown_layer_gets_a_suggestion(layer: str, message: str, trained: Path, videos: list[Path]) -> None:
    with pytest.raises(InputError, match=message):
        videopool.load(trained).features(videos[0], layer)


def test_a_layer_without_a_tensor_and_a_form_without_layers_are_refused() -> None:
    class Pair(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x

    model = torch.nn.Sequential(Pair())
    with LayerTap(model, "0"), pytest.raises(InputError, match="Layer '0' returns a tuple, not one tensor"):
        model(torch.zeros(1))

    class Frames(torch.nn.Module):
        """Uses one layer twice, another one on frames, and a third one never."""

        def __init__(self) -> None:
            super().__init__()
            self.twice, self.frames, self.never = torch.nn.ReLU(), torch.nn.ReLU(), torch.nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.frames(self.twice(self.twice(x)).flatten(0, 1))

    for name, message in (
        ("twice", "Layer 'twice' runs more than once in a forward pass"),
        ("frames", "Layer 'frames' returns 6 rows for 2 clips, not one for each"),
        ("never", "Layer 'never' does not run in the forward pass"),
    ):
        with pytest.raises(InputError, match=message), LayerTap(Frames(), name) as tap:
            tap._model(torch.zeros(2, 3, 4))

    class Nothing:
        def scores(self, clips: torch.Tensor) -> torch.Tensor:
            return clips

    with pytest.raises(InputError, match="no layers to take features from"):
        find_layer(BackendModule(Nothing()), "0")


def features_of(count: int, videos: int, start: int = 0) -> Features:
    values = torch.arange(start, start + 3 * count, dtype=torch.float32).reshape(count, 3)
    video = torch.arange(count) % videos
    return Features(values, video.sort().values, torch.rand(count, 2, dtype=torch.float64))


def test_the_file_joins_what_was_added(tmp_path: Path) -> None:
    parts = [(features_of(4, 2), ["a", "é"]), (features_of(0, 1), ["unreadable"]), (features_of(2, 1, 50), ["b"])]
    with FeatureFile(tmp_path / "f.npz", "blocks.1") as file:
        for features, names in parts:
            file.add(features, names)
    assert [path.name for path in tmp_path.iterdir()] == ["f.npz"]
    with np.load(tmp_path / "f.npz") as saved:
        expected = torch.cat([features.values for features, _ in parts])
        np.testing.assert_array_equal(saved["features"], expected.numpy())
        assert saved["features"].dtype == np.float32
        assert saved["video"].tolist() == [0, 0, 1, 1, 3, 3]
        assert saved["videos"].tolist() == ["a", "é", "unreadable", "b"]
        assert str(saved["layer"]) == "blocks.1"
        np.testing.assert_array_equal(
            np.stack([saved["start"], saved["end"]], 1), torch.cat([features.seconds for features, _ in parts]).numpy()
        )


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(AttributeError), FeatureFile(tmp_path / "f.npz", "x") as file:
        file.add(None, ["a"])
    assert not list(tmp_path.iterdir())
    with FeatureFile(tmp_path / "none.npz", "x"):
        pass
    with np.load(tmp_path / "none.npz") as saved:
        assert saved["features"].shape == (0, 0)
