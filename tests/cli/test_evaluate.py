"""Evaluation with other workers and batches, and from another working folder."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import QUICK, ROOT


@pytest.mark.slow
def test_scores_with_other_workers_and_batches(trained: Path, tool: Callable, tmp_path: Path) -> None:
    """Workers change nothing. Another batch size may take another algorithm: rounding of float32 probabilities."""
    saved, metrics = {}, {}
    for key in ("data.workers=0", "data.workers=1", "data.workers=2", "evaluate.batch=1", "evaluate.batch=16"):
        ended = tool("evaluate", trained / "checkpoints/last.pt", "--to", tmp_path / key, key, "evaluate.resamples=50")
        assert ended.code == 0, ended.err
        saved[key] = dict(np.load(tmp_path / key / "scores.npz"))
        metrics[key] = {**json.loads((tmp_path / key / "metrics.json").read_text()), "overrides": None}
    first = saved["data.workers=0"]
    for key, other in saved.items():
        assert other.keys() == first.keys()
        if key.startswith("data.workers"):
            assert all(np.array_equal(other[name], first[name]) for name in first), key
            assert metrics[key] == metrics["data.workers=0"]
        else:
            np.testing.assert_allclose(other["scores"], first["scores"], rtol=0, atol=1e-6)


def test_a_relative_root_from_another_folder(
    motion_videos: Path, tool: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "videos").symlink_to(motion_videos)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    arguments = ["--config", ROOT / "configs/demo.yaml", *QUICK, "data.root=videos", "out=run", "train.epochs=1"]
    assert tool("train", *arguments, "optim.warmup_epochs=0").code == 0
    monkeypatch.chdir(tmp_path / "other")
    ended = tool("evaluate", "../run/checkpoints/last.pt")
    assert ended.code == 2
    assert ended.err == (
        f"error: data.root=videos does not exist in {tmp_path / 'other'}; training may have been started in another "
        "folder. Add data.root=FOLDER, or start videopool there.\n"
    )
    ended = tool("evaluate", "../run/checkpoints/last.pt", f"data.root={motion_videos}")
    assert ended.code == 0, ended.err
    assert (tmp_path / "run/evaluation/predictions.csv").exists()


def test_the_folder_of_a_run_is_answered_with_its_checkpoint(trained: Path, tool: Callable) -> None:
    ended = tool("evaluate", trained)
    assert ended.code == 2
    assert ended.err == f"error: checkpoint {trained}: Is a directory; give {trained}/checkpoints/last.pt\n"
