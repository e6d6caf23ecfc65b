"""A classifier gives exactly the scores of the evaluation, from a checkpoint and from every export."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import videopool
from videopool.data import DecodeError, open_video
from videopool.errors import InputError


@pytest.fixture(scope="module")
def checkpoint(trained: Path) -> Path:
    return trained / "checkpoints/last.pt"


@pytest.fixture(scope="module")
def videos(motion_videos: Path) -> list[Path]:
    return sorted((motion_videos / "test").rglob("*.mp4"))


@pytest.mark.slow
def test_scores_are_those_of_the_evaluation(
    checkpoint: Path, videos: list[Path], tool: Callable, tmp_path: Path
) -> None:
    assert tool("evaluate", checkpoint, "--to", tmp_path).code == 0
    saved = np.load(tmp_path / "scores.npz")
    expected = saved["scores"].astype(np.float64).reshape(8, -1, 8).sum(1) / 6
    classifier = videopool.load(checkpoint)
    scores = classifier.scores(videos)
    assert scores.bad == ()
    np.testing.assert_array_equal(scores.probabilities.numpy(), expected)
    assert scores.classes == classifier.classes == tuple(sorted(classifier.classes))


def test_predict_of_one_of_several_and_of_frames(checkpoint: Path, videos: list[Path]) -> None:
    classifier = videopool.load(checkpoint)
    one = classifier.predict(videos[0], top=3)
    assert len(one) == 3
    assert one[0].probability >= one[1].probability >= one[2].probability
    assert one[0].label in classifier.classes
    assert classifier.predict(videos[:2], top=3)[0] == one
    assert sum(p.probability for p in classifier.predict(str(videos[0]), top=100)) == pytest.approx(1)
    with open_video(videos[0]) as video:
        info = video.info
        frames = video.frames_at(np.arange(info.frames) / info.fps)
    classifier = videopool.load(checkpoint, [f"data.folder_fps={info.fps}"])
    by_frames = classifier.predict(frames, top=8)
    by_file = classifier.predict(videos[0], top=8)
    # Resampling whole RGB frames rounds the pixels once more than resampling the planes of the file.
    for left, right in zip(sorted(by_frames, key=str), sorted(by_file, key=str), strict=True):
        assert left.label == right.label
        assert left.probability == pytest.approx(right.probability, abs=2e-2)


def test_scores_that_are_not_finite_are_an_error(checkpoint: Path, videos: list[Path]) -> None:
    classifier = videopool.load(checkpoint)
    with torch.no_grad():
        next(classifier.model.parameters()).fill_(torch.nan)
    with pytest.raises(InputError, match=r"scores are not finite, so the weights are broken\. Use an earlier"):
        next(classifier.windows(videos[0]))
    with pytest.raises(InputError, match="are not finite, so the weights are broken"):
        classifier.scores(videos[:1])


def test_a_folder_without_a_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has none of program\.pt2, .*checkpoints/last\.pt"):
        videopool.load(tmp_path)


def test_unreadable_videos_are_reported(checkpoint: Path, videos: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    classifier = videopool.load(checkpoint)
    scores = classifier.scores([videos[0], broken])
    assert [bad.video for bad in scores.bad] == [1]
    assert torch.isnan(scores.probabilities[1]).all()
    assert torch.isfinite(scores.probabilities[0]).all()
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        classifier.predict([videos[0], broken])


def test_a_folder_of_frames_is_a_video(checkpoint: Path, videos: list[Path], tmp_path: Path) -> None:
    from PIL import Image

    with open_video(videos[0]) as video:
        frames = video.frames_at(np.arange(10) / 10)
    for number, frame in enumerate(frames.unbind(1)):
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(tmp_path / f"{number:03}.png")
    classifier = videopool.load(checkpoint, ["data.folder_fps=10"])
    torch.testing.assert_close(
        classifier.scores(tmp_path).probabilities, classifier.scores(frames).probabilities, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        (torch.zeros(3, 4, 8, 8), "float32 \\[3, 4, 8, 8\\]"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), "uint8 \\[4, 3, 8, 8\\]"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "uint8 \\[3, 8, 8\\]"),
        (torch.zeros(3, 0, 8, 8, dtype=torch.uint8), "uint8 \\[3, 0, 8, 8\\]"),
    ],
)
def test_frames_of_another_kind_are_refused(frames: torch.Tensor, found: str, checkpoint: Path) -> None:
    with pytest.raises(InputError, match=found):
        videopool.load(checkpoint).predict(frames)


def test_no_videos_give_no_scores(checkpoint: Path) -> None:
    assert videopool.load(checkpoint).scores([]).probabilities.shape == (0, 8)


def test_predict_names_the_checkpoint_that_does_not_exist(tool: Callable, videos: list[Path]) -> None:
    ended = tool("predict", "nothing.pt", videos[0])
    assert ended.code == 2
    assert "nothing.pt" in ended.err


def test_a_moved_checkpoint_works(checkpoint: Path, videos: list[Path], tmp_path: Path) -> None:
    shutil.copyfile(checkpoint, tmp_path / "elsewhere.pt")
    assert "8 classes" in repr(videopool.load(tmp_path / "elsewhere.pt"))
