"""``videopool export`` with each format, from a trained network and a real video."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import videopool
from tests.conftest import ROOT
from videopool.cli.export import _sample
from videopool.data import read_videos
from videopool.engine import load_trained


@pytest.mark.slow
def test_portable_gives_the_scores_of_the_checkpoint(
    trained: Path, motion_videos: Path, tool: Callable, tmp_path: Path
) -> None:
    checkpoint, videos = trained / "checkpoints/last.pt", sorted((motion_videos / "test").rglob("*.mp4"))
    ended = tool("export", checkpoint, "--format", "portable", "weights", "--verify-on", videos[0], "--to", tmp_path)
    assert ended.code == 0, ended.err
    expected = videopool.load(checkpoint).scores(videos[:2]).probabilities
    found = videopool.load(tmp_path / "portable.pt2").scores(videos[:2]).probabilities
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        document = file.metadata()["videopool"]
    assert '"step"' in document
    for path in tmp_path.iterdir():
        assert str(ROOT).encode() not in path.read_bytes()
    assert str(motion_videos) not in document


def test_a_training_video_is_verified_on_if_one_can_be_read(trained: Path, motion_videos: Path, tmp_path: Path) -> None:
    network = load_trained(trained / "checkpoints/last.pt", ["data.workers=0"])
    sample = _sample(network, None)
    assert sample is not None
    assert sample.shape == (1, 3, 4, 32, 32)
    assert torch.equal(sample, _sample(network, read_videos("train", motion_videos).records[0].path))
    elsewhere = dataclasses.replace(network.config.data, root=str(tmp_path))
    moved = dataclasses.replace(network, config=dataclasses.replace(network.config, data=elsewhere))
    assert _sample(moved, None) is None


def test_a_video_that_cannot_be_read_is_named(trained: Path, tool: Callable, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    ended = tool("export", trained / "checkpoints/last.pt", "--verify-on", broken, "--to", tmp_path / "to")
    assert ended.code == 2
    assert "--verify-on" in ended.err
    assert "broken.mp4 cannot be read" in ended.err
    assert not (tmp_path / "to").exists()
