"""The start and end of each view in scores.npz, in seconds of the file."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("keys", "starts", "spans"),
    [
        # Videos of 10 frames at 10 a second; a clip of 4 frames, every second one, lasts 0.7 s.
        (["evaluate.clips=2"], [0.0, 0.3], [0.7, 0.7]),
        (["evaluate.clips=1", "clip.sampling=segments"], [0.1], [0.8]),
        (["evaluate.clips=0", "evaluate.hop=0.2"], [0.0, 0.2, 0.3], [0.7, 0.7, 0.7]),
    ],
)
def test_seconds_of_views(
    keys: list[str],
    starts: list[float],
    spans: list[float],
    workers: int,
    trained: Path,
    tool: Callable,
    tmp_path: Path,
) -> None:
    ended = tool("evaluate", trained / "checkpoints/last.pt", "--to", tmp_path, f"data.workers={workers}", *keys)
    assert ended.code == 0, ended.err
    saved = np.load(tmp_path / "scores.npz")
    assert saved["seconds"].dtype == np.float64
    expected = np.repeat([[start, start + span] for start, span in zip(starts, spans, strict=True)], 3, axis=0)
    np.testing.assert_allclose(saved["seconds"], np.tile(expected, (8, 1)), atol=1e-9)


def test_seconds_of_a_span_are_those_of_the_file(
    trained: Path, motion_videos: Path, tool: Callable, tmp_path: Path
) -> None:
    video = sorted((motion_videos / "test").rglob("*.mp4"))[0]
    shutil.copy(video, tmp_path / "video.mp4")
    (tmp_path / "test.csv").write_text("path,start,end\nvideo.mp4,0.2,0.9\n")
    places = [f"data.root={tmp_path}", "data.test=test.csv", "--to", tmp_path / "to", "evaluate.clips=1"]
    ended = tool("evaluate", trained / "checkpoints/last.pt", *places)
    assert ended.code == 0, ended.err
    np.testing.assert_allclose(np.load(tmp_path / "to/scores.npz")["seconds"], [[0.2, 0.9]] * 3, atol=1e-9)
