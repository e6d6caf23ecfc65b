"""The keys of sampling with the tools: sliding windows, order of an epoch, kinds of clips."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import QUICK, ROOT, same_tensors
from videopool.config import load
from videopool.engine.builders.parts import clip_sampling
from videopool.engine.checkpoints.files import read_checkpoint
from videopool.engine.trainer import Trainer

pytestmark = pytest.mark.slow  # trains

DEMO = ["--config", str(ROOT / "configs/demo.yaml"), *QUICK, "evaluate.clips=1"]


def evaluated(folder: Path) -> tuple[dict, dict]:
    return json.loads((folder / "metrics.json").read_text()), dict(np.load(folder / "scores.npz"))


def test_windows_have_the_scores_of_clips_at_the_same_times(trained: Path, tool: Callable, tmp_path: Path) -> None:
    """The videos have 10 frames and a clip spans 7, so windows 3 frames apart are two: at the start and at the end."""
    checkpoint = trained / "checkpoints/last.pt"
    ended = tool("evaluate", checkpoint, "--to", tmp_path / "clips", "evaluate={clips: 2, crops: 3}")
    assert ended.code == 0, ended.err
    slide = "evaluate={clips: 0, hop: 0.3, crops: 3}"
    for name, workers in (("here", 0), ("workers", 2)):
        ended = tool("evaluate", checkpoint, "--to", tmp_path / name, slide, f"data.workers={workers}")
        assert ended.code == 0, ended.err
        assert "8 videos in 48 windows" in ended.out
        (clips, two), (windows, found) = evaluated(tmp_path / "clips"), evaluated(tmp_path / name)
        assert (clips.pop("views"), windows.pop("views")) == (6, 0)
        assert {**clips, "overrides": []} == {**windows, "overrides": []}
        for column in ("video", "view", "labels"):
            np.testing.assert_array_equal(found[column], two[column])
        # Another composition of the batches may take another algorithm: float32 rounding of probabilities.
        np.testing.assert_allclose(found["scores"], two["scores"], atol=1e-5)


def test_prediction_with_windows(trained: Path, motion_videos: Path, tool: Callable) -> None:
    video = sorted((motion_videos / "test").rglob("*.mp4"))[0]
    printed = []
    for views in ("evaluate={clips: 0, hop: 0.3, crops: 1}", "evaluate={clips: 2, crops: 1}"):
        ended = tool("predict", trained / "checkpoints/last.pt", video, views)
        assert ended.code == 0, ended.err
        printed.append(ended.out)
    assert printed[0] == printed[1]
    assert "%" in printed[0]


def test_interrupted_run_resumes_bit_for_bit(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    (tmp_path / "weights.txt").write_text("1\n" * 12 + "3\n" * 4)
    weights = os.path.relpath(tmp_path / "weights.txt", motion_videos)
    train = f"train={{sampler: weighted, weights: {weights}, clips_per_video: 2, batch: 8, evaluate_every: 0}}"
    clip = "clip={sampling: dense, window: 1.5, short: loop}"
    settings = [*DEMO, f"data.root={motion_videos}", clip, train]
    ended = tool("train", *settings, f"out={tmp_path / 'straight'}")
    assert ended.code == 0, ended.err
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "stop_step", lambda self: self.step == 3 and (self.save(False) or True))
        assert tool("train", *settings, f"out={tmp_path / 'run'}").code == 75
    assert tool("train", *settings, f"out={tmp_path / 'run'}").code == 0
    straight, resumed = (read_checkpoint(tmp_path / name / "checkpoints/last.pt") for name in ("straight", "run"))
    assert straight["step"] == resumed["step"] == 8
    assert same_tensors(resumed["model"], straight["model"])
    other = tool("train", *settings, "train.sampler=uniform", "train.weights=''", f"out={tmp_path / 'run'}")
    assert other.code == 2
    assert "train.sampler was weighted, now uniform" in other.err


def test_clip_sampling_of_a_configuration() -> None:
    sampling = clip_sampling(load(None, ["clip={sampling: segments, short: error, frames: 8}"]))
    assert (sampling.method, sampling.short, sampling.frames) == ("segments", "error", 8)
    sampling = clip_sampling(load(None, ["clip={sampling: dense, window: 2.5}"]))
    assert (sampling.method, sampling.short, sampling.window) == ("dense", "hold", 2.5)


def test_videos_shorter_than_a_clip_are_bad_videos(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    """The videos have 10 frames, and a clip spans 13."""
    settings = [*DEMO, f"data.root={motion_videos}", "clip={stride: 4, short: error}", f"out={tmp_path}"]
    ended = tool("train", *settings, "data.max_bad_fraction=1")
    assert ended.code == 2
    assert "videos in a row could not be decoded" in ended.err
    assert "is too short: it has 10 frames (1.00 s), a clip needs 13 (1.30 s) (short=error)" in ended.err


def test_wrong_number_of_weights(motion_videos: Path, tmp_path: Path, tool: Callable) -> None:
    (tmp_path / "weights.txt").write_text("1\n" * 15)
    weighted = f"train={{sampler: weighted, weights: {tmp_path / 'weights.txt'}}}"
    ended = tool("train", *DEMO, f"data.root={motion_videos}", weighted, f"out={tmp_path / 'run'}")
    assert ended.code == 2
    assert "has 15 lines for 16 videos" in ended.err
    assert not (tmp_path / "run").exists()
